r"""RDKit's binary form of many molecules, decoded into flat arrays without a Python call per atom.

    m molecules  ->  Structures, equal to those of `structure.read_with_getters`

`Mol.ToBinary()` is a header, the two counts, then a record of a few bytes for each atom, bond and ring:
    atom   number, flags, 4 bytes that say which fields follow, then those: charge, chiral tag,
           hybridisation (absent: sp3), explicit hydrogens, valence, implicit hydrogens, radicals, isotope
    bond   the two atoms, flags, then, if flagged: type (absent: single), direction, stereo and its atoms
    ring   how many atoms, and those
(RDKit's GraphMol/MolPickler.cpp.)

The layout is no public contract. So before its first use the reader is compared with the getters on `PROBES`,
and given up for this process if they differ; a record that has anything unforeseen (a query, an atom map, a
residue, more than 255 atoms) sends its molecule to the getters.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numba import njit
from rdkit import Chem

from sharding.structure import (
    AROMATIC,
    CHARGE,
    CONJUGATED,
    HYBRIDISATION,
    HYDROGENS,
    NUMBER,
    RADICALS,
    STEREO,
    TYPE,
    Flat,
    Structures,
    read_with_getters,
    relate,
)

PROBES = (
    "C", "[H][H]", "[2H]C([2H])[2H]", "[13CH3][14CH2-]", "[CH3]", "[CH2]", "[O][O]", "[C-]#[O+]", "[U]",
    "[He]", "C[N+](C)(C)[O-]", "[Na+].[Cl-].[Ca+2]", "[Fe+2].c1cc[cH-]c1.c1cc[cH-]c1", "N[Pt@SP1](Cl)(Br)I",
    "N->[Pt](Cl)Cl", "O=[Os](=O)(=O)=O", "FS(F)(F)(F)(F)F", "C[Si](C)(C)C", "F[P-](F)(F)(F)(F)F",
    "B(O)(O)c1ccccc1",
    "C[C@H](N)C(=O)O", "CC(N)C(=O)O", "C[S@](=O)c1ccccc1", "C/C=C/C", "C/C=C\\C", "CC=CC", "F/C(Cl)=N/O",
    "C[C@H]1CC[C@@H](C)CC1", "C1CC2(C1)CC2", "C12C3C4C1C5C2C3C45", "C1C2CC3CC1CC(C2)C3", "C1CC1.C1CCCCC1",
    "c1ccc2c(c1)[nH]c1ccccc12", "O=c1[nH]c(=O)c2[nH]cnc2[nH]1", "[O-][n+]1ccccc1", "N#Cc1ccsc1", "CC~CC",
    "Cc1cccc(I)c1-c1c(C)cccc1N", "C=[N+]=[N-]", "C1" + "C" * 40 + "1", "C" * 255, "C" * 256,
    "C1" + "C" * 260 + "C1C/C=C/C", "N[C@@H](C)C(=O)N[C@@H](CS)C(=O)O",
    "CC1=C(C(=O)N2CCC[C@H]2C(=O)N[C@@H](Cc2ccc(O)cc2)C(=O)[O-])SC(=[NH2+])N1",
)  # fmt: skip
"""Every field, flag and section that the reader knows, and some that it must decline."""


class Reader(NamedTuple):
    """How this process reads molecules, and why."""

    name: Literal["binary", "getters"]
    reason: str


def read(molecules: Sequence[Chem.Mol]) -> Structures:
    """The structures of sanitised molecules."""
    parts = decode(molecules) if reader().name == "binary" else list(map(read_with_getters, molecules))
    return relate(molecules, parts)


def decode(molecules: Sequence[Chem.Mol]) -> list[Flat]:
    """Runs of molecules in order, decoded; one whose form has anything unforeseen is a part by itself."""
    parts: list[Flat] = []
    done = 0
    while done < len(molecules):
        flat = decoded(molecules[done:])
        parts.append(flat)
        done += len(flat.n_atoms)
        if done < len(molecules):
            parts.append(read_with_getters(molecules[done]))
            done += 1
    return parts or [decoded(molecules)]


@cache
def reader() -> Reader:
    """Compare both ways on `PROBES`; at least the ordinary ones of them must have been decoded."""
    declined = 0
    for smiles in PROBES:
        molecule = Chem.MolFromSmiles(smiles)
        found = decoded([molecule])
        if not len(found.n_atoms):
            declined += 1
        elif not same(found, read_with_getters(molecule)):
            return Reader("getters", f"RDKit's binary form of {smiles[:40]} is not what this version reads")
    if declined > len(PROBES) // 8:
        return Reader("getters", f"{declined} of {len(PROBES)} probes are in a form unknown to this version")
    return Reader("binary", f"equal to the getters on {len(PROBES) - declined} probes")


def same(first: Flat, second: Flat) -> bool:
    """Equal in everything that is read; the rest follows from it."""
    columns: Iterator[tuple[Any, Any]] = zip(first, second, strict=True)
    return all(np.array_equal(one, other) for one, other in columns)


# --- layout ---

HEADER, RECORDS, ATOMS_BEGIN = 20, 30, 0x0180  # between: the two counts, 32 bits each
BONDS_BEGIN, RINGS_BEGIN = 0x0B, 0x42
MOST_ATOMS = 255  # with more, indices take four bytes
ATOM_AROMATIC, ATOM_FLAGS = 0x40, 0x60  # the one that is read, and those that may be set
HAS_CHARGE, HAS_CHIRAL, HAS_HYBRIDISATION, HAS_HYDROGENS, HAS_VALENCE = 2, 4, 8, 16, 32
HAS_IMPLICIT, HAS_RADICALS, HAS_ISOTOPE, ATOM_FIELDS = 64, 128, 256, 0x1FE
BOND_CONJUGATED, HAS_TYPE, HAS_DIRECTION, HAS_STEREO, BOND_FLAGS = 0x20, 0x08, 0x04, 0x02, 0x6E
SP3, SINGLE = int(Chem.HybridizationType.SP3), int(Chem.BondType.SINGLE)


@cache
def _header() -> bytes:
    return Chem.MolFromSmiles("C").ToBinary()[:HEADER]


def decoded(molecules: Sequence[Chem.Mol]) -> Flat:
    """The first molecules, up to the first whose binary form has anything unforeseen."""
    forms = [molecule.ToBinary(0) for molecule in molecules]  # without properties
    starts = np.zeros(len(forms) + 1, np.int64)
    np.cumsum([len(form) for form in forms], out=starts[1:])
    data = np.frombuffer(b"".join(forms), np.uint8)
    counts, sizes, *columns = _decode(data, starts, np.frombuffer(_header(), np.uint8))
    filled = sizes[[0, 1, 1, 2, 3]].tolist()
    n_atoms, n_bonds, n_rings = counts.T
    return Flat(n_atoms, n_bonds, n_rings, *[column[:n] for column, n in zip(columns, filled, strict=True)])


@njit(cache=True, nogil=True)
def _decode(data, starts, header):  # type: ignore[no-untyped-def]
    """The counts of `Flat` as columns, how much of its arrays was filled, and they: room for all data."""
    molecules, most = len(starts) - 1, len(data) // 3 + 1  # a record has three bytes at least
    counts, sizes = np.zeros((molecules, 3), np.int64), np.zeros(4, np.int64)
    atoms, bonds, ends = np.empty(most, np.int64), np.empty(most, np.int64), np.empty((most, 2), np.int32)
    ring_sizes, rings = np.empty(most, np.int32), np.empty(3 * most, np.int32)
    k = 0
    while k < molecules:
        start, stop = starts[k], starts[k + 1]
        n_atoms = np.int64(data[start + HEADER]) | np.int64(data[start + HEADER + 1]) << 8
        n_bonds = np.int64(data[start + HEADER + 4]) | np.int64(data[start + HEADER + 5]) << 8
        begins = np.int64(data[start + RECORDS - 2]) | np.int64(data[start + RECORDS - 1]) << 8
        known = n_atoms <= MOST_ATOMS and begins == ATOMS_BEGIN
        for place in range(HEADER):
            known &= data[start + place] == header[place]
        n_rings = -1
        if known:
            place = _decode_atoms(data, start + RECORDS, stop, atoms, sizes[0], n_atoms)
            place = _decode_bonds(data, place, stop, bonds, ends, sizes[1], n_bonds)
            n_rings = _decode_rings(data, place, stop, ring_sizes, rings, sizes[2], sizes[3])
        if n_rings < 0:
            break
        counts[k, 0], counts[k, 1], counts[k, 2] = n_atoms, n_bonds, n_rings
        for ring in range(sizes[2], sizes[2] + n_rings):
            sizes[3] += ring_sizes[ring]
        for column in range(3):
            sizes[column] += counts[k, column]
        k += 1
    return counts[:k], sizes, atoms, bonds, ends, ring_sizes, rings


@njit(cache=True, nogil=True)
def _decode_atoms(data, place, stop, atoms, first, count):  # type: ignore[no-untyped-def]
    """Where the atoms end, or -1."""
    for atom in range(first, first + count):
        if place + 6 > stop:
            return -1
        number, flags = np.int64(data[place]), np.int64(data[place + 1])
        fields = np.int64(data[place + 2]) | np.int64(data[place + 3]) << 8
        if flags & ~ATOM_FLAGS or fields & ~ATOM_FIELDS or data[place + 4] or data[place + 5]:
            return -1
        place += 6
        if place + 11 > stop:
            return -1
        charge = hydrogens = radicals = np.int64(0)
        hybridisation = np.int64(SP3)
        if fields & HAS_CHARGE:
            charge = np.int64(np.int8(data[place]))
            place += 1
        if fields & HAS_CHIRAL:
            place += 1
        if fields & HAS_HYBRIDISATION:
            hybridisation = np.int64(data[place])
            place += 1
        if fields & HAS_HYDROGENS:
            hydrogens += np.int64(data[place])
            place += 1
        if fields & HAS_VALENCE:
            place += 1
        if fields & HAS_IMPLICIT:
            hydrogens += np.int64(data[place])
            place += 1
        if fields & HAS_RADICALS:
            radicals = np.int64(data[place])
            place += 1
        if fields & HAS_ISOTOPE:
            place += 4
        atoms[atom] = (
            number << NUMBER
            | (charge + 128) << CHARGE
            | min(int(hydrogens), 255) << HYDROGENS
            | radicals << RADICALS
            | hybridisation << HYBRIDISATION
            | (1 if flags & ATOM_AROMATIC else 0) << AROMATIC
        )
    return place


@njit(cache=True, nogil=True)
def _decode_bonds(data, place, stop, bonds, ends, first, count):  # type: ignore[no-untyped-def]
    """Where the bonds end, or -1."""
    if place < 0 or place >= stop or data[place] != BONDS_BEGIN:
        return -1
    place += 1
    for bond in range(first, first + count):
        if place + 8 > stop or np.int64(data[place + 2]) & ~BOND_FLAGS:
            return -1
        ends[bond, 0], ends[bond, 1] = data[place], data[place + 1]
        flags = np.int64(data[place + 2])
        place += 3
        type_, stereo = np.int64(SINGLE), np.int64(0)
        if flags & HAS_TYPE:
            type_ = np.int64(data[place])
            place += 1
        if flags & HAS_DIRECTION:
            place += 1
        if flags & HAS_STEREO:
            stereo = np.int64(data[place])
            if data[place + 1] != 0 and data[place + 1] != 2:
                return -1
            place += 2 + np.int64(data[place + 1])
        bonds[bond] = type_ << TYPE | stereo << STEREO | (1 if flags & BOND_CONJUGATED else 0) << CONJUGATED
    return place


@njit(cache=True, nogil=True)
def _decode_rings(data, place, stop, sizes, rings, first, member):  # type: ignore[no-untyped-def]
    """How many rings, or -1."""
    if place < 0 or place + 5 > stop or data[place] != RINGS_BEGIN:
        return -1
    count = np.int64(data[place + 1]) | np.int64(data[place + 2]) << 8
    place += 5
    for ring in range(first, first + count):
        if place >= stop or place + 1 + data[place] > stop:
            return -1
        sizes[ring] = data[place]
        place += 1
        for _ in range(sizes[ring]):
            rings[member] = data[place]
            member += 1
            place += 1
    return count
