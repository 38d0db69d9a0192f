"""A molecule read once: plain integers and lists that the feature table and the describer share.

    molecule with a atoms, b bonds  ->  Structure
    atoms (a,)        numbers of distinct kinds; `ATOMS.values[kind]` says what such an atom is
    bonds (b,)        two atoms and a kind; `BONDS.values[kind]`
    neighbours (a,)   of each atom: (neighbour, bond order)

A Python call per atom and property costs more than all of RDKit's work on the molecule, so the usual way is
`sharding.binary`: decode RDKit's binary form, kinds looked up by their bytes. The getters here say what is
meant, serve every molecule that the binary reader declines, and are what it is compared with before its
first use. Isotopes and chiral tags are left out of the kinds: nothing downstream looks at them.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from rdkit import Chem

Kind = TypeVar("Kind", bound=Hashable)


class Atom(NamedTuple):
    """What an atom is by itself."""

    number: int
    charge: int
    hydrogens: int
    """Those that are no atoms of the molecule."""
    aromatic: bool
    radicals: int
    hybridisation: int
    """As in `Chem.HybridizationType`."""


class Bond(NamedTuple):
    """What a bond is by itself."""

    type: int
    """As in `Chem.BondType`."""
    stereo: int
    """As in `Chem.BondStereo`."""
    conjugated: bool
    order: float
    """1.5 is aromatic; a bond that is no valence (dative, hydrogen, zero-order) counts as one."""


_ORDERS = {
    int(getattr(Chem.BondType, name)): order
    for name, order in (
        ("AROMATIC", 1.5), ("ONEANDAHALF", 1.5), ("DOUBLE", 2.0), ("TWOANDAHALF", 2.5), ("TRIPLE", 3.0),
        ("THREEANDAHALF", 3.5), ("QUADRUPLE", 4.0), ("FOURANDAHALF", 4.5), ("QUINTUPLE", 5.0),
        ("FIVEANDAHALF", 5.5), ("HEXTUPLE", 6.0),
    )
}  # fmt: skip


class Kinds(Generic[Kind]):
    """Distinct values and a small number for each, in the order in which this process met them."""

    def __init__(self) -> None:
        self.values: list[Kind] = []
        self._numbers: dict[Kind, int] = {}

    def number(self, value: Kind) -> int:
        """The number of this value; a new one if it was never met."""
        found = self._numbers.setdefault(value, len(self.values))
        if found == len(self.values):
            self.values.append(value)
        return found


ATOMS: Kinds[Atom] = Kinds()
BONDS: Kinds[Bond] = Kinds()


def bond_kind(type_: int, stereo: int, conjugated: bool) -> int:
    """The number of this kind of bond."""
    return BONDS.number(Bond(type_, stereo, conjugated, _ORDERS.get(type_, 1.0)))


class Joined(NamedTuple):
    """A bond in its place. What its two atoms say of it is made ready here, since readers keep these."""

    first: int
    second: int
    kind: int
    from_first: tuple[int, float]
    """(second, order)"""
    from_second: tuple[int, float]
    edge: int


def edge_of(first: int, second: int) -> int:
    """One number for two atoms in either order."""
    return first << 16 | second if first < second else second << 16 | first


def joined(first: int, second: int, kind: int) -> Joined:
    """A bond of this kind between two atoms."""
    order = BONDS.values[kind].order
    return Joined(first, second, kind, (second, order), (first, order), edge_of(first, second))


@dataclass(slots=True)
class Structure:
    """See the module's head. `rings` are RDKit's, each with its atoms in order."""

    molecule: Chem.Mol
    atoms: list[int]
    bonds: list[Joined]
    rings: Sequence[Sequence[int]]
    numbers: list[int] = field(init=False)
    """(a,) atomic numbers"""
    neighbours: list[list[tuple[int, float]]] = field(init=False)
    ring_edges: list[list[int]] = field(init=False)
    """The bonds of each ring, as in `edge_of`."""
    in_ring: list[bool] = field(init=False)
    """(b,) whether the bond is part of a ring"""
    ring_atoms: set[int] = field(init=False)

    def __post_init__(self) -> None:
        known = ATOMS.values
        self.numbers = [known[kind].number for kind in self.atoms]
        neighbours: list[list[tuple[int, float]]] = [[] for _ in self.atoms]
        for first, second, _, from_first, from_second, _ in self.bonds:
            neighbours[first].append(from_first)
            neighbours[second].append(from_second)
        self.neighbours = neighbours
        self.ring_edges = [
            # `edge_of`, spelt out: a call would cost more than the work
            [a << 16 | b if a < b else b << 16 | a for a, b in zip(ring, (*ring[1:], ring[0]), strict=True)]
            for ring in self.rings
        ]
        self.ring_atoms = set().union(*self.rings)
        edges = set().union(*self.ring_edges)
        self.in_ring = [bond[5] in edges for bond in self.bonds]


def read_with_getters(molecule: Chem.Mol) -> Structure:
    """The definition. Needs a sanitised molecule, or hydrogens, hybridisation and rings perceived."""
    return Structure(
        molecule,
        atoms=[
            ATOMS.number(
                Atom(
                    atom.GetAtomicNum(),
                    atom.GetFormalCharge(),
                    atom.GetTotalNumHs(),
                    atom.GetIsAromatic(),
                    atom.GetNumRadicalElectrons(),
                    int(atom.GetHybridization()),
                )
            )
            for atom in molecule.GetAtoms()
        ],
        bonds=[
            joined(
                bond.GetBeginAtomIdx(),
                bond.GetEndAtomIdx(),
                bond_kind(int(bond.GetBondType()), int(bond.GetStereo()), bond.GetIsConjugated()),
            )
            for bond in molecule.GetBonds()
        ],
        rings=molecule.GetRingInfo().AtomRings(),
    )
