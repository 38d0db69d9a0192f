"""Many molecules read once: flat arrays of integers that the feature table and the describer share.

    m molecules with a atoms, b bonds, r rings of t atoms in all  ->  Structures
    atoms (a,)   what each atom is by itself, in one number: see `pack_atom`
    bonds (b,)   likewise: see `pack_bond`
    ends  (b, 2) the atoms of a bond, ring_atoms (t,) those of the rings in order
and what follows from these: neighbours, rings of an atom and of a bond. Atoms, bonds and rings are numbered
through the whole batch; `atom_start[k] : atom_start[k + 1]` are those of molecule k.

A Python call per atom and property costs more than all of RDKit's work on the molecule, so the usual way is
`sharding.binary`: decode RDKit's binary form. The getters here say what is meant, serve every molecule that
the binary reader declines, and are what it is compared with before its first use. Isotopes and chiral tags
are left out: nothing downstream looks at them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

Ints = NDArray[np.int64]

NUMBER, CHARGE, HYDROGENS, RADICALS, HYBRIDISATION, AROMATIC, ATOM_BITS = 0, 8, 16, 24, 32, 36, 37
"""Where in an atom's number each property begins; see `pack_atom`."""
TYPE, STEREO, CONJUGATED, BOND_BITS = 0, 8, 16, 17
"""Likewise for a bond's number."""


class Atom(NamedTuple):
    """What an atom is by itself."""

    number: int
    charge: int
    hydrogens: int
    """Those that are no atoms of the molecule."""
    radicals: int
    hybridisation: int
    """As in `Chem.HybridizationType`."""
    aromatic: bool


class Bond(NamedTuple):
    """What a bond is by itself."""

    type: int
    """As in `Chem.BondType`."""
    stereo: int
    """As in `Chem.BondStereo`."""
    conjugated: bool


def pack_atom(atom: Atom) -> int:
    """One number for it. RDKit keeps each property in eight bits or fewer, hydrogens in twice eight."""
    return (
        atom.number << NUMBER
        | atom.charge + 128 << CHARGE
        | min(atom.hydrogens, 255) << HYDROGENS
        | atom.radicals << RADICALS
        | atom.hybridisation << HYBRIDISATION
        | atom.aromatic << AROMATIC
    )


def unpack_atom(packed: int) -> Atom:
    """The atom behind a number of `pack_atom`; higher bits are not looked at."""
    return Atom(
        packed >> NUMBER & 255,
        (packed >> CHARGE & 255) - 128,
        packed >> HYDROGENS & 255,
        packed >> RADICALS & 255,
        packed >> HYBRIDISATION & 15,
        bool(packed >> AROMATIC & 1),
    )


def pack_bond(bond: Bond) -> int:
    """One number for it."""
    return bond.type << TYPE | bond.stereo << STEREO | bond.conjugated << CONJUGATED


def unpack_bond(packed: int) -> Bond:
    """The bond behind a number of `pack_bond`; higher bits are not looked at."""
    return Bond(packed >> TYPE & 255, packed >> STEREO & 255, bool(packed >> CONJUGATED & 1))


_ORDERS = np.full(256, 2, np.uint8)
for _name, _order in (
    ("AROMATIC", 3), ("ONEANDAHALF", 3), ("DOUBLE", 4), ("TWOANDAHALF", 5), ("TRIPLE", 6), ("THREEANDAHALF", 7),
    ("QUADRUPLE", 8), ("FOURANDAHALF", 9), ("QUINTUPLE", 10), ("FIVEANDAHALF", 11), ("HEXTUPLE", 12),
):  # fmt: skip
    _ORDERS[int(getattr(Chem.BondType, _name))] = _order


class Flat(NamedTuple):
    """What a reader reads. Atoms are numbered within their molecule still."""

    n_atoms: Ints
    n_bonds: Ints
    n_rings: Ints
    atoms: Ints
    bonds: Ints
    ends: NDArray[np.int32]
    ring_sizes: NDArray[np.int32]
    ring_atoms: NDArray[np.int32]


class Graphs(NamedTuple):
    """See the module's head. All of it arrays, so that compiled functions take it whole."""

    atom_start: Ints
    bond_start: Ints
    ring_start: Ints
    atoms: Ints
    bonds: Ints
    ring_atoms_start: Ints
    """(r + 1,)"""
    orders: NDArray[np.uint8]
    """(b,) twice the bond order: 3 is aromatic; what is no valence (dative, hydrogen, zero) counts as single"""
    ends: NDArray[np.int32]
    ring_atoms: NDArray[np.int32]
    ring_bonds: NDArray[np.int32]
    """(t,) the bond from each atom of a ring to the next"""
    around_start: Ints
    """(a + 1,)"""
    around: NDArray[np.int32]
    """(2 b,) neighbours, in ascending order"""
    around_bonds: NDArray[np.int32]
    """(2 b,) the bonds to them"""
    ring_bits: NDArray[np.uint8]
    """(a,) 1 in a ring, 2 in one of three"""
    in_ring: NDArray[np.uint8]
    """(b,)"""


@dataclass(frozen=True, slots=True)
class Structures:
    """Molecules and their arrays."""

    molecules: Sequence[Chem.Mol]
    graphs: Graphs
    centres: list[int]
    """(m,) stereocentres, defined or not; they are not in the binary form"""

    def __len__(self) -> int:
        return len(self.molecules)


def relate(molecules: Sequence[Chem.Mol], parts: Sequence[Flat]) -> Structures:
    """What was read, in parts, with all that follows from it."""
    flat = parts[0] if len(parts) == 1 else Flat(*map(np.concatenate, zip(*parts, strict=True)))
    starts = [_starts(sizes) for sizes in (flat.n_atoms, flat.n_bonds, flat.n_rings, flat.ring_sizes)]
    orders = _ORDERS[flat.bonds >> TYPE & 255]
    related = _relate(*starts, flat.ends, flat.ring_atoms)
    columns: list[Any] = [*starts[:3], flat.atoms, flat.bonds, starts[3], orders, *related]
    centres = [rdMolDescriptors.CalcNumAtomStereoCenters(molecule) for molecule in molecules]
    return Structures(molecules, Graphs(*columns), centres)


def _starts(sizes: NDArray[np.integer]) -> Ints:
    starts = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    return starts


@njit(cache=True, nogil=True)
def _relate(atom_start, bond_start, ring_start, ring_atoms_start, ends_within, ring_atoms_within):  # type: ignore[no-untyped-def]
    """The rest of `Graphs`."""
    atoms, bonds, members = atom_start[-1], bond_start[-1], ring_atoms_start[-1]
    ends, ring_atoms = np.empty((bonds, 2), np.int32), np.empty(members, np.int32)
    around_start = np.zeros(atoms + 1, np.int64)
    around, around_bonds = np.empty(2 * bonds, np.int32), np.empty(2 * bonds, np.int32)
    ring_bonds = np.empty(members, np.int32)
    ring_bits, in_ring = np.zeros(atoms, np.uint8), np.zeros(bonds, np.uint8)
    for k in range(len(atom_start) - 1):
        for bond in range(bond_start[k], bond_start[k + 1]):
            for side in range(2):
                ends[bond, side] = ends_within[bond, side] + atom_start[k]
                around_start[ends[bond, side] + 1] += 1
    for atom in range(atoms):
        around_start[atom + 1] += around_start[atom]
    filled = around_start[:-1].copy()
    for bond in range(bonds):
        for side in range(2):
            atom, other = ends[bond, side], ends[bond, 1 - side]
            place = filled[atom]
            filled[atom] += 1
            while place > around_start[atom] and around[place - 1] > other:
                around[place], around_bonds[place] = around[place - 1], around_bonds[place - 1]
                place -= 1
            around[place], around_bonds[place] = other, bond
    for k in range(len(atom_start) - 1):
        for ring in range(ring_start[k], ring_start[k + 1]):
            first, last = ring_atoms_start[ring], ring_atoms_start[ring + 1]
            for place in range(first, last):
                ring_atoms[place] = ring_atoms_within[place] + atom_start[k]
            for place in range(first, last):
                atom, following = ring_atoms[place], ring_atoms[place + 1 if place + 1 < last else first]
                ring_bits[atom] |= 3 if last - first == 3 else 1
                for index in range(around_start[atom], around_start[atom + 1]):
                    if around[index] == following:
                        ring_bonds[place] = around_bonds[index]
                        in_ring[around_bonds[index]] = 1
    return ends, ring_atoms, ring_bonds, around_start, around, around_bonds, ring_bits, in_ring


def read_with_getters(molecule: Chem.Mol) -> Flat:
    """The definition, for one molecule: sanitised, or with hydrogens, hybridisation and rings perceived."""
    rings = molecule.GetRingInfo().AtomRings()
    bonds = list(molecule.GetBonds())
    return Flat(
        n_atoms=np.array([molecule.GetNumAtoms()]),
        n_bonds=np.array([molecule.GetNumBonds()]),
        n_rings=np.array([len(rings)]),
        atoms=_array(
            [
                pack_atom(
                    Atom(
                        atom.GetAtomicNum(),
                        atom.GetFormalCharge(),
                        atom.GetTotalNumHs(),
                        atom.GetNumRadicalElectrons(),
                        int(atom.GetHybridization()),
                        atom.GetIsAromatic(),
                    )
                )
                for atom in molecule.GetAtoms()
            ]
        ),
        bonds=_array(
            [
                pack_bond(Bond(int(bond.GetBondType()), int(bond.GetStereo()), bond.GetIsConjugated()))
                for bond in bonds
            ]
        ),
        ends=_array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in bonds], np.int32).reshape(-1, 2),
        ring_sizes=_array([len(ring) for ring in rings], np.int32),
        ring_atoms=_array([atom for ring in rings for atom in ring], np.int32),
    )


def _array(values: list[Any], kind: type[np.integer] = np.int64) -> NDArray[Any]:
    return np.array(values, kind)
