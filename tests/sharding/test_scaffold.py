"""The first sentence against a slow reading of the same facts with RDKit's getters, atom by atom."""

import re
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase
from rdkit.Chem import rdMolDescriptors

from sharding.binary import read
from sharding.text.chemistry_names import (
    FUNCTIONAL_GROUPS,
    LINKERS,
    counted,
    element,
    in_words,
    listed,
    name_ring_system,
)
from sharding.text.describe import describe
from sharding.text.patterns import count_groups
from sharding.text.scaffold import BENZENE_PATTERNS, NAMED_PARTS
from tests.sharding.test_describe import NASTY

OPENING = re.compile(r"^(The scaffold holds|Its ring systems are|The core is built from|It contains) ")
ODD = [
    "C1CC2(C1)CC1(CC1)C2", "C1CCC1(C1CC1)c1ccccc1", "C1CC1OC(OC1CC1)OC1CC1", "C1CC1C=CC1CC1", "C1CC1C(=S)C1CC1",
    "C1CC1S(=O)(=O)NC1CC1", "C1CC1S(=O)(=N)C1CC1", "C1CC1.C1CC1", "N#CC(C#N)=c1ccc(=C(C#N)C#N)cc1",
    "C1CC1OCCCCCCCCCCOC1CC1", "c1ccccc1-c1ccccc1-c1ccccc1", "[2H]C([2H])(C1CC1)C1CC1", "CC(C)(C)CC(C)C", "OO",
    "C1CCC(=C2CCCC2)C1", "C1CS12CC2", "c1cc2cccc3c4cccc5cccc(c(c1)c23)c54", "CC(C)C.CCCC", "C/C=C/C=C\\C",
    "[H]/N=C(/C)CC", "O=C1CCC(=O)C1=C1C(=O)CCC1=O", "C1CC[Si]2(C1)CCCC2",
]  # fmt: skip


def systems_of(molecule):
    """Sets of atoms of rings that hang together by bonds."""
    found = []
    rings = molecule.GetRingInfo()
    for atoms, bonds in zip(rings.AtomRings(), rings.BondRings(), strict=True):
        atoms, bonds = set(atoms), set(bonds)
        for other in [other for other in found if other[1] & bonds]:
            atoms, bonds = atoms | other[0], bonds | other[1]
            found.remove(other)
        found.append((atoms, bonds))
    return [atoms for atoms, _ in found]


def name_of(molecule, system):
    """(pattern, singular, plural, short) of a ring system."""
    atoms, bonds, substituted = sorted(system), [], []
    in_a_ring = {atom for ring in molecule.GetRingInfo().AtomRings() for atom in ring}
    outer = []
    for bond in molecule.GetBonds():
        ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        order = bond.GetBondTypeAsDouble() or 1.0
        order = 1.0 if bond.GetBondType() in (Chem.BondType.DATIVE, Chem.BondType.ZERO) else order
        inside = [end for end in ends if end in system]
        if len(inside) == 2:
            bonds.append((*sorted(map(atoms.index, ends)), order))
        elif len(inside) == 1:
            (other,) = set(ends) - set(inside)
            if molecule.GetAtomWithIdx(other).GetAtomicNum() != 1:
                substituted.append(inside[0])
            if order == 2.0 and other not in in_a_ring:
                outer.append((atoms.index(inside[0]), other))
    bonds += [(inside, len(atoms) + number, 2.0) for number, (inside, _) in enumerate(outer)]
    numbers = [molecule.GetAtomWithIdx(atom).GetAtomicNum() for atom in [*atoms, *(o for _, o in outer)]]
    sizes = tuple(sorted(len(ring) for ring in molecule.GetRingInfo().AtomRings() if system.issuperset(ring)))
    names = name_ring_system(tuple(numbers), tuple(bonds), len(atoms), sizes)
    pattern = ""
    if names[0] == "benzene":
        (ring,) = [ring for ring in molecule.GetRingInfo().AtomRings() if set(ring) == system]
        places = sorted(ring.index(atom) for atom in substituted)
        gaps = [(after - place - 1) % 6 + 1 for place, after in pairwise([*places, *places[:1]])]
        pattern = BENZENE_PATTERNS.get(tuple(sorted(gaps)), "")
    return pattern, *names


def links_of(molecule, systems, names):
    """Counter of (what, ends)."""
    holders = {
        a: [s for s, system in enumerate(systems) if a in system] for a in range(molecule.GetNumAtoms())
    }
    around = {a.GetIdx(): [n.GetIdx() for n in a.GetNeighbors()] for a in molecule.GetAtoms()}
    found: Counter = Counter()
    for held in holders.values():
        if len(held) > 1:
            found["a spiro atom", tuple(sorted(names[s] for s in held))] += 1
    for bond in molecule.GetBonds():
        one, other = holders[bond.GetBeginAtomIdx()], holders[bond.GetEndAtomIdx()]
        if one and other and not set(one) & set(other):
            found["a direct bond", tuple(sorted((names[min(one)], names[min(other)])))] += 1

    def reaches_a_ring(start, without):
        seen, queue = {without, start}, [start]
        for atom in queue:
            if holders[atom]:
                return True
            queue += [other for other in around[atom] if other not in seen]
            seen.update(around[atom])
        return False

    between = {
        atom
        for atom in around
        if not holders[atom] and sum(reaches_a_ring(other, atom) for other in around[atom]) > 1
    }
    while between:
        chain = [between.pop()]
        for atom in chain:
            chain += [other for other in around[atom] if other in between]
            between -= set(around[atom])
        ends = [(atom, names[min(holders[o])]) for atom in chain for o in around[atom] if holders[o]]
        what = f"a branched linker of {counted(len(chain), 'atom')}"
        if len(ends) == 2:
            what = chain_name(molecule, chain, ends[0][0], around)
        found[what, tuple(sorted(name for _, name in ends))] += 1
    return found


def chain_name(molecule, chain, start, around):
    path = [start]
    while len(path) < len(chain):
        path.append(next(other for other in around[path[-1]] if other in chain and other not in path))
    tokens = []
    for atom in map(molecule.GetAtomWithIdx, path):
        double = [
            bond.GetOtherAtom(atom).GetSymbol()
            for bond in atom.GetBonds()
            if bond.GetBondType() == Chem.BondType.DOUBLE and bond.GetOtherAtomIdx(atom.GetIdx()) not in chain
        ]
        outer = double[0] if len(set(double)) == 1 and double[0] in "OS" else "?"
        tokens.append(
            atom.GetSymbol() + (outer + (str(len(double)) if len(double) > 1 else "") if double else "")
        )
    bonds = [molecule.GetBondBetweenAtoms(*pair).GetBondType() for pair in pairwise(path)]
    if not {Chem.BondType.DOUBLE, Chem.BondType.TRIPLE} & set(bonds):
        for direction in (tokens, tokens[::-1]):
            if tuple(direction) in LINKERS:
                return LINKERS[tuple(direction)]
    hetero = Counter(molecule.GetAtomWithIdx(atom).GetAtomicNum() for atom in path)
    del hetero[6]
    parts = listed(counted(n, element(number)) for number, n in sorted(hetero.items()))
    length = f"{in_words(len(path))}-{'atom' if parts else 'carbon'} chain"
    return f"{'an' if length.startswith('eight') else 'a'} {length}{f' with {parts}' if parts else ''}"


def longest_chain(molecule):
    """Carbons on the longest path of a molecule without rings."""
    distances = Chem.GetDistanceMatrix(molecule)
    carbons = [atom.GetIdx() for atom in molecule.GetAtoms() if atom.GetAtomicNum() == 6]
    longest = 0
    for one in carbons:
        for other in carbons:
            if distances[one, other] < molecule.GetNumAtoms():  # else in another component
                path = Chem.GetShortestPath(molecule, one, other) if one != other else (one,)
                longest = max(longest, len(path) if set(path) <= set(carbons) else 0)
    return longest


def expected(molecule):
    """The sentence without its opening."""
    systems = systems_of(molecule)
    names = [name_of(molecule, system) for system in systems]
    clauses = []
    if systems:
        kinds = Counter((one, many, pattern) for pattern, one, many, _ in names)
        parts = [
            counted(n, pattern + one, pattern + many) for (one, many, pattern), n in sorted(kinds.items())
        ]
        further = ["further ring systems"] * (len(parts) > NAMED_PARTS)
        clauses.append(listed(parts[:NAMED_PARTS] + further))
    elif longest := longest_chain(molecule):
        branches = sum(
            sum(n.GetAtomicNum() != 1 for n in atom.GetNeighbors()) > 2 for atom in molecule.GetAtoms()
        )
        more = f"with {counted(branches, 'branching atom')}" if branches else "without branches"
        clauses.append(
            f"An acyclic structure whose longest carbon chain has {counted(longest, 'atom')}, {more}"
        )
    else:
        clauses.append("An acyclic structure without carbon")
    if len(systems) > 1:
        links = links_of(molecule, systems, [name[3] for name in names])
        if links.total() == 1:
            clauses.append(f"joined by {next(iter(links))[0]}")
        elif links:
            told = sorted((f"{listed(ends)} by {what}", n) for (what, ends), n in links.items())
            told = [part if n == 1 else f"{in_words(n)} times {part}" for part, n in told]
            more = " and others" if len(told) > NAMED_PARTS else ""
            clauses.append(f"joined are {', '.join(told[:NAMED_PARTS])}{more}")
    return "; ".join([*clauses, *whole_clauses(molecule)]) + "."


def whole_clauses(molecule):
    if centres := rdMolDescriptors.CalcNumAtomStereoCenters(molecule):
        undefined = rdMolDescriptors.CalcNumUnspecifiedAtomStereoCenters(molecule)
        told = "" if undefined == centres else f"{in_words(undefined)} "
        yield counted(centres, "stereocentre") + (f" ({told}undefined)" if undefined else "")
    for label, stereo in (("E", Chem.BondStereo.STEREOE), ("Z", Chem.BondStereo.STEREOZ)):
        if count := sum(bond.GetStereo() == stereo for bond in molecule.GetBonds()):
            yield counted(count, f"{label} double bond")
    if (components := len(Chem.GetMolFrags(molecule))) > 1:
        yield f"{in_words(components)} separate components"


def check(smiles):
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    sentence = describe(molecule, smiles).core_scaffold
    assert OPENING.sub("", sentence) == expected(molecule), smiles


@pytest.mark.parametrize("smiles", [*NASTY, *ODD])
def test_the_sentence_of_unusual_molecules(smiles):
    check(smiles)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_sentence_of_real_molecules(zinc, data):
    check(data.draw(st.sampled_from(zinc)))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from([*NASTY, *ODD]), min_size=2, max_size=4))
def test_the_sentence_of_mixtures(parts):
    check(".".join(parts))


def test_groups_are_all_counted_where_there_are_thousands():
    """More mappings than there was room for at first."""
    counts = count_groups(read([Chem.MolFromSmiles("CC"), Chem.MolFromSmiles("C(F)(F)" * 1500)]))
    found = {group.name: n for group, n in zip(FUNCTIONAL_GROUPS, counts[1].tolist(), strict=True) if n}
    assert found == {"difluoromethyl group": 2, "alkyl fluoride": 2996}
    assert not counts[0].any()
