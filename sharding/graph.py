"""The feature table: an atom is 8 small integers worth 39 inputs, a bond 4 worth 10.

    molecule with a atoms, b bonds  ->  a atom keys, b bond keys, b pairs of atom indices
    atom key   (symbol, degree, charge, radical, hybridisation, aromatic, hydrogens, chirality)
    bond key   (type, conjugated, in_ring, stereo)

A `one_hot` column of width w holds 0 ... w-1, or w for a value outside the table (all inputs zero, counted
as unknown); a `number` column holds the number itself; a `flags` column of width w holds w bits.

After AttentiveFP (Xiong et al. 2020, table 1), which LGM-CL (arXiv 2601.22610, table 1) takes over. There a
degree above 5 and the CIS / TRANS stereo labels raise an error; here they are the unknown value.
"""

from typing import Literal, NamedTuple

from rdkit import Chem
from rdkit.Chem.rdqueries import HasPropQueryAtom

from sharding.structure import ATOMS, BONDS, Structure

AtomKey = tuple[int, int, int, int, int, int, int, int]
BondKey = tuple[int, int, int, int]


class Column(NamedTuple):
    """One stored integer and the inputs it stands for."""

    name: str
    kind: Literal["one_hot", "number", "flags"]
    meaning: tuple[str, ...]

    @property
    def width(self) -> int:
        """How many inputs of an encoder the integer becomes."""
        return len(self.meaning)


SYMBOLS = ("B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "As", "Se", "Br", "Te", "I", "At")

ATOM_COLUMNS = (
    Column("symbol", "one_hot", (*SYMBOLS, "other")),
    Column("degree", "one_hot", ("0", "1", "2", "3", "4", "5")),
    Column("formal_charge", "number", ("e",)),
    Column("radical_electrons", "number", ("count",)),
    Column("hybridisation", "one_hot", ("SP", "SP2", "SP3", "SP3D", "SP3D2", "other")),
    Column("aromatic", "number", ("yes",)),
    Column("hydrogens", "one_hot", ("0", "1", "2", "3", "4")),
    Column("chirality", "flags", ("R", "S", "possible")),
)
BOND_COLUMNS = (
    Column("type", "one_hot", ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")),
    Column("conjugated", "number", ("yes",)),
    Column("in_ring", "number", ("yes",)),
    Column("stereo", "one_hot", ("STEREONONE", "STEREOANY", "STEREOZ", "STEREOE")),
)
ATOM_INPUTS = sum(column.width for column in ATOM_COLUMNS)  # 39
BOND_INPUTS = sum(column.width for column in BOND_COLUMNS)  # 10

_TABLE = Chem.GetPeriodicTable()
_SYMBOL = {_TABLE.GetAtomicNumber(symbol): index for index, symbol in enumerate(SYMBOLS)}
_HYBRIDISATION = {
    int(getattr(Chem.HybridizationType, name)): index
    for index, name in enumerate(ATOM_COLUMNS[4].meaning[:-1])
}
_BOND_TYPE = {int(getattr(Chem.BondType, name)): index for index, name in enumerate(BOND_COLUMNS[0].meaning)}
_STEREO = {int(getattr(Chem.BondStereo, name)): index for index, name in enumerate(BOND_COLUMNS[3].meaning)}
_OTHER_SYMBOL, _OTHER_HYBRIDISATION = len(SYMBOLS), len(_HYBRIDISATION)
_UNKNOWN_DEGREE, _UNKNOWN_HYDROGENS = ATOM_COLUMNS[1].width, ATOM_COLUMNS[6].width
_UNKNOWN_TYPE, _UNKNOWN_STEREO = BOND_COLUMNS[0].width, BOND_COLUMNS[3].width


def atom_keys(molecule: Chem.Mol) -> list[AtomKey]:
    """The integers of every atom, in the molecule's order: the definition. Needs a sanitised molecule."""
    return [
        (
            *_atom_part(
                atom.GetAtomicNum(),
                atom.GetFormalCharge(),
                atom.GetNumRadicalElectrons(),
                int(atom.GetHybridization()),
                atom.GetIsAromatic(),
                atom.GetTotalNumHs(),
                atom.GetDegree(),
            ),
            _chirality(atom) if atom.GetDegree() >= CENTRE else 0,
        )
        for atom in molecule.GetAtoms()
    ]


def bond_keys(molecule: Chem.Mol) -> list[tuple[BondKey, tuple[int, int]]]:
    """The integers of every bond and its two atoms, in the molecule's order: the definition."""
    return [
        (
            _bond_part(
                int(bond.GetBondType()), bond.GetIsConjugated(), bond.IsInRing(), int(bond.GetStereo())
            ),
            (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()),
        )
        for bond in molecule.GetBonds()
    ]


def atom_codes(structure: Structure) -> list[int]:
    """One number for every atom, which `atom_key` turns into its integers: many atoms share few."""
    codes = [
        kind << 8 | min(len(ends), 31) << 3
        for kind, ends in zip(structure.atoms, structure.neighbours, strict=True)
    ]
    molecule = structure.molecule
    centres = molecule.GetAtomsMatchingQuery(_CENTRES)  # labels and centres are not in the binary form
    for place in range(len(centres)):  # by index: iterating over RDKit's sequence costs ten times as much
        atom = centres[place]
        if len(structure.neighbours[index := atom.GetIdx()]) >= CENTRE:
            codes[index] |= _chirality(atom)
    return codes


def bond_codes(structure: Structure) -> list[int]:
    """One number for every bond, for `bond_key`."""
    return [bond[2] << 1 | ring for bond, ring in zip(structure.bonds, structure.in_ring, strict=True)]


def atom_key(code: int) -> AtomKey:
    """The integers behind one of `atom_codes`."""
    atom = ATOMS.values[code >> 8]
    return (
        *_atom_part(
            atom.number,
            atom.charge,
            atom.radicals,
            atom.hybridisation,
            atom.aromatic,
            atom.hydrogens,
            code >> 3 & 31,
        ),
        code & 7,
    )


def bond_key(code: int) -> BondKey:
    """The integers behind one of `bond_codes`."""
    bond = BONDS.values[code >> 1]
    return _bond_part(bond.type, bond.conjugated, bool(code & 1), bond.stereo)


def _atom_part(
    number: int, charge: int, radicals: int, hybridisation: int, aromatic: bool, hydrogens: int, degree: int
) -> tuple[int, int, int, int, int, int, int]:
    return (
        _SYMBOL.get(number, _OTHER_SYMBOL),
        min(degree, _UNKNOWN_DEGREE),
        max(-128, min(127, charge)),
        radicals,
        _HYBRIDISATION.get(hybridisation, _OTHER_HYBRIDISATION),
        int(aromatic),
        min(hydrogens, _UNKNOWN_HYDROGENS),
    )


def _bond_part(type_: int, conjugated: bool, in_ring: bool, stereo: int) -> BondKey:
    return (
        _BOND_TYPE.get(type_, _UNKNOWN_TYPE),
        int(conjugated),
        int(in_ring),
        _STEREO.get(stereo, _UNKNOWN_STEREO),
    )


CENTRE = 3
"""An atom with fewer neighbours is no stereocentre, whatever RDKit labels it."""


def _chirality(atom: Chem.Atom) -> int:
    flags = 0
    if atom.HasProp("_CIPCode"):
        flags = 1 if atom.GetProp("_CIPCode") == "R" else 2
    if atom.HasProp("_ChiralityPossible"):
        flags |= 4
    return flags


def _labelled() -> Chem.QueryAtom:
    query = HasPropQueryAtom("_ChiralityPossible")
    query.ExpandQuery(HasPropQueryAtom("_CIPCode"), Chem.CompositeQueryType.COMPOSITE_OR)
    return query


_CENTRES = _labelled()


def unknown_columns(key: AtomKey | BondKey) -> list[str]:
    """Names of the one-hot columns in which this atom or bond is outside the table."""
    columns = ATOM_COLUMNS if len(key) == len(ATOM_COLUMNS) else BOND_COLUMNS
    return [
        column.name
        for column, value in zip(columns, key, strict=True)
        if column.kind == "one_hot" and value >= column.width
    ]
