"""Molecules in the integers of `sharding.feature_table`.

    molecules with a atoms, b bonds in all  ->  atoms (a, 8), bonds (b, 4), ends (b, 2)
    atom key   (symbol, degree, charge, radical, hybridisation, aromatic, hydrogens, chirality)
    bond key   (type, conjugated, in_ring, stereo)

What is outside the table is counted as unknown, never refused.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem.rdqueries import HasPropQueryAtom

from sharding.feature_table import ATOM_COLUMNS, BOND_COLUMNS, SYMBOLS
from sharding.structure import ATOM_BITS, BOND_BITS, Structures, unpack_atom, unpack_bond

AtomKey = tuple[int, int, int, int, int, int, int, int]
BondKey = tuple[int, int, int, int]

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
_MOST_DEGREE = 31  # that a code has room for
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


def atom_columns(structures: Structures) -> tuple[NDArray[np.int8], Counter[str]]:
    """`atom_keys` of all molecules (a, 8), and how many atoms are outside the table, by column."""
    graphs = structures.graphs
    degree = np.minimum(np.diff(graphs.around_start), _MOST_DEGREE)
    codes = graphs.atoms | degree << ATOM_BITS | _all_chirality(structures) << ATOM_BITS + 5
    return _spell_out(codes, _atom_key, len(ATOM_COLUMNS))


def bond_columns(structures: Structures) -> tuple[NDArray[np.int8], Counter[str]]:
    """Likewise `bond_keys` (b, 4)."""
    graphs = structures.graphs
    codes = graphs.bonds | graphs.in_ring.astype(np.int64) << BOND_BITS
    return _spell_out(codes, _bond_key, len(BOND_COLUMNS))


def bond_ends(structures: Structures) -> NDArray[np.int32]:
    """The two atoms of every bond (b, 2), counted within the molecule."""
    graphs = structures.graphs
    return (
        graphs.ends - np.repeat(graphs.atom_start[:-1], np.diff(graphs.bond_start)).astype(np.int32)[:, None]
    )


def _spell_out(
    codes: NDArray[np.int64], key: Callable[[int], AtomKey | BondKey], width: int
) -> tuple[NDArray[np.int8], Counter[str]]:
    """Many share few codes: each distinct one is spelt out once."""
    distinct, index, times = np.unique(codes, return_inverse=True, return_counts=True)
    keys = [key(code) for code in distinct.tolist()]
    unknown: Counter[str] = Counter()
    for one, count in zip(keys, times.tolist(), strict=True):
        for column in unknown_columns(one):
            unknown[column] += count
    return np.array(keys, np.int8).reshape(-1, width)[index], unknown


@cache
def _atom_key(code: int) -> AtomKey:
    atom = unpack_atom(code)
    return (
        *_atom_part(
            atom.number,
            atom.charge,
            atom.radicals,
            atom.hybridisation,
            atom.aromatic,
            atom.hydrogens,
            code >> ATOM_BITS & _MOST_DEGREE,
        ),
        code >> ATOM_BITS + 5,
    )


@cache
def _bond_key(code: int) -> BondKey:
    bond = unpack_bond(code)
    return _bond_part(bond.type, bond.conjugated, bool(code >> BOND_BITS), bond.stereo)


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


_POSSIBLE = HasPropQueryAtom("_ChiralityPossible")
"""Labels and centres are not in the binary form. Every labelled atom is a possible centre too."""


def _all_chirality(structures: Structures) -> NDArray[np.int64]:
    """Of all atoms."""
    graphs, molecules = structures.graphs, structures.molecules
    flags = np.zeros(len(graphs.atoms), np.int64)
    degree = np.diff(graphs.around_start)
    for k in np.flatnonzero(structures.centres).tolist():
        start = int(graphs.atom_start[k])
        centres = molecules[k].GetAtomsMatchingQuery(_POSSIBLE)
        for place in range(len(centres)):  # by index: iterating over RDKit's sequence costs ten times as much
            atom = centres[place]
            flags[start + atom.GetIdx()] = _chirality(atom)
    return np.where(degree >= CENTRE, flags, 0)


def unknown_columns(key: AtomKey | BondKey) -> list[str]:
    """Names of the one-hot columns in which this atom or bond is outside the table."""
    columns = ATOM_COLUMNS if len(key) == len(ATOM_COLUMNS) else BOND_COLUMNS
    return [
        column.name
        for column, value in zip(columns, key, strict=True)
        if column.kind == "one_hot" and value >= column.width
    ]
