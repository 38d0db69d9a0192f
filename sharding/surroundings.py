"""What depends on an atom and its direct neighbours only, asked of RDKit once for each kind of surroundings.

    Structure  ->  Whole(log_p, polar_surface, patterns)

The surroundings of an atom are its kind, degree and ring membership, those of its neighbours, and the bonds
to them. Three things follow from them, and are kept in a table that fills as molecules come by:
    log P          each atom's contribution, its hydrogens' included (Wildman and Crippen 1999)
    polar surface  each atom's contribution (Ertl et al. 2000)
    patterns       the stars it is the centre of: an atom of a functional group's pattern and the pattern
                   atoms beside it. A pattern is tried only where all of its stars are present.
Looked up and added, they cost a fraction of RDKit's own sum, which matches a hundred patterns against every
molecule. The exceptions: an oxygen of degree one has its contribution to log P looked up with its
neighbour's surroundings, since Crippen's patterns for it reach one atom further; hydrogens that are atoms
and oxygens that are odd in another way send the molecule to RDKit.
"""

import functools
from functools import cache
from operator import or_
from typing import NamedTuple

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from sharding.chemistry_names import FUNCTIONAL_GROUPS
from sharding.structure import ATOMS, BONDS, Structure

Key = tuple[int, ...]
MOST = 1 << 17
"""Entries of a table before it is emptied. ZINC's 250,000 molecules fill a twentieth of it."""


class Surroundings(NamedTuple):
    """What one kind of surroundings contributes."""

    log_p: float
    polar_surface: float
    stars: int
    """A bit for each of `stars`."""


class Whole(NamedTuple):
    """The sums over a molecule."""

    log_p: float
    polar_surface: float
    stars: int


_known: dict[Key, Surroundings] = {}
_oxygens: dict[tuple[Key, Key], float] = {}
"""log P of an oxygen of degree one, by its own surroundings and its neighbour's."""


def sum_up(structure: Structure) -> Whole:
    """Both sums and all stars of the molecule."""
    keys = _keys(structure)
    try:
        found = [_known[key] for key in keys]
        log_p = _log_p(structure, keys, found)
    except KeyError:
        _learn(structure, keys)
        found = [_known[key] for key in keys]
        log_p = _log_p(structure, keys, found)
    stars = 0
    for surroundings in set(found):
        stars |= surroundings.stars
    return Whole(log_p, sum([surroundings.polar_surface for surroundings in found]), stars)


def _log_p(structure: Structure, keys: list[Key], found: list[Surroundings]) -> float:
    """May raise KeyError: an oxygen beside surroundings that it was not yet seen beside."""
    numbers, total = structure.numbers, 0.0
    if 1 in numbers:
        return rdMolDescriptors.CalcCrippenDescriptors(structure.molecule)[0]
    for atom, number in enumerate(numbers):
        if number != 8:
            total += found[atom].log_p
        elif len(ends := structure.neighbours[atom]) == 1:
            total += _oxygens[keys[atom], keys[ends[0][0]]]
        elif _is_odd(structure, atom):
            return rdMolDescriptors.CalcCrippenDescriptors(structure.molecule)[0]
        else:
            total += found[atom].log_p
    return total


def _is_odd(structure: Structure, oxygen: int) -> bool:
    """Two neighbours, and a charge, a hydrogen or a double bond: patterns for degree one fit it as well."""
    kind = ATOMS.values[structure.atoms[oxygen]]
    ends = structure.neighbours[oxygen]
    return bool(ends) and (
        kind.charge != 0 or kind.hydrogens > 0 or any(order not in (1.0, 1.5) for _, order in ends)
    )


def _keys(structure: Structure) -> list[Key]:
    """Of each atom: itself, then its bonds and neighbours, sorted."""
    bits = bytearray(len(structure.atoms))
    for ring in structure.rings:
        mark = 3 if len(ring) == 3 else 1  # polar surface knows three-membered rings
        for atom in ring:
            bits[atom] |= mark
    selves = [
        kind << 8 | min(len(ends), 31) << 2 | bit
        for kind, ends, bit in zip(structure.atoms, structure.neighbours, bits, strict=True)
    ]
    around: list[list[int]] = [[] for _ in selves]
    types = BONDS.values
    for (first, second, kind, _, _, _), in_ring in zip(structure.bonds, structure.in_ring, strict=True):
        bond = types[kind].type << 33 | in_ring << 32
        around[first].append(bond | selves[second])
        around[second].append(bond | selves[first])
    for beside in around:
        beside.sort()
    return [(self, *beside) for self, beside in zip(selves, around, strict=True)]


def _learn(structure: Structure, keys: list[Key]) -> None:
    """Ask RDKit about every atom of a molecule that has anything new."""
    if len(_known) > MOST or len(_oxygens) > MOST:
        _known.clear()
        _oxygens.clear()
    molecule = structure.molecule
    log_p = _log_p_contributions(molecule)
    polar = rdMolDescriptors._CalcTPSAContribs(molecule)
    centres_of = cache(lambda star, centre: _centres(molecule, star, centre))
    for atom, key in enumerate(keys):
        ends = structure.neighbours[atom]
        if structure.numbers[atom] == 8 and len(ends) == 1:
            _oxygens[key, keys[ends[0][0]]] = log_p[atom]
        if key in _known:
            continue
        present = 0
        for centre_query, members in _stars_by_centre():
            if centre_query.Match(molecule.GetAtomWithIdx(atom)):
                for bit, star, centre in members:
                    present |= bit if atom in centres_of(star, centre) else 0
        _known[key] = Surroundings(log_p[atom], polar[atom], present)


def _centres(molecule: Chem.Mol, star: Chem.Mol, centre: int) -> set[int]:
    return {match[centre] for match in molecule.GetSubstructMatches(star, uniquify=False, maxMatches=1 << 20)}


def _log_p_contributions(molecule: Chem.Mol) -> list[float]:
    """Of each atom, with that of the hydrogens that are none."""
    whole = Chem.AddHs(molecule)  # the hydrogens follow
    atoms = molecule.GetNumAtoms()
    contributions = [log_p for log_p, _ in rdMolDescriptors._CalcCrippenContribs(whole)]
    for hydrogen in range(atoms, whole.GetNumAtoms()):
        (bond,) = whole.GetAtomWithIdx(hydrogen).GetBonds()
        contributions[bond.GetOtherAtomIdx(hydrogen)] += contributions[hydrogen]
    return contributions[:atoms]


# --- stars ---


@cache
def compiled(smarts: str) -> Chem.Mol:
    """A pattern of the table."""
    return Chem.MolFromSmarts(smarts)


@cache
def needed_stars() -> tuple[int, ...]:
    """For each functional group, the bits of the stars without which it cannot be."""
    return tuple(
        functools.reduce(or_, (_bit(star, centre) for star, centre in _stars(group.pattern)))
        for group in FUNCTIONAL_GROUPS
    )


@cache
def _stars_by_centre() -> list[tuple[Chem.QueryAtom, list[tuple[int, Chem.Mol, int]]]]:
    """The query of a centre, and every star that has it: bit, star, centre."""
    found: dict[str, tuple[Chem.QueryAtom, dict[int, tuple[int, Chem.Mol, int]]]] = {}
    for group in FUNCTIONAL_GROUPS:
        for star, centre in _stars(group.pattern):
            query = star.GetAtomWithIdx(centre)
            bit = _bit(star, centre)
            found.setdefault(query.GetSmarts(), (query, {}))[1].setdefault(bit, (bit, star, centre))
    return [(query, list(members.values())) for query, members in found.values()]


_bits: dict[str, int] = {}


def _bit(star: Chem.Mol, centre: int) -> int:
    """The bit of a star, by what it says: patterns share many."""
    return _bits.setdefault(f"{centre} {Chem.MolToSmarts(star)}", 1 << len(_bits))


@cache
def _stars(smarts: str) -> list[tuple[Chem.Mol, int]]:
    """Atoms of the pattern with their neighbours, and which is the centre; none that lies within another.

    Bonds between the neighbours are left out, as surroundings know none.
    """
    pattern = compiled(smarts)
    atoms = [
        {atom.GetIdx(), *(other.GetIdx() for other in atom.GetNeighbors())} for atom in pattern.GetAtoms()
    ]
    return [
        (_cut_out(pattern, centre, kept), sorted(kept).index(centre))
        for centre, kept in enumerate(atoms)
        if not any(kept < other or (kept == other and index < centre) for index, other in enumerate(atoms))
    ]


def _cut_out(pattern: Chem.Mol, centre: int, kept: set[int]) -> Chem.Mol:
    star = Chem.RWMol(pattern)
    for bond in pattern.GetBonds():
        ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if centre not in ends:
            star.RemoveBond(*ends)
    for atom in reversed(range(pattern.GetNumAtoms())):
        if atom not in kept:
            star.RemoveAtom(atom)
    return star.GetMol()
