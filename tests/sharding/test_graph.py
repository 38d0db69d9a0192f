"""The 39 + 10 features against RDKit's own words, atom by atom; the binary reader against the getters."""

import csv

import pytest
from rdkit import Chem, rdBase
from rdkit.Chem import rdMolDescriptors

from sharding import binary
from sharding.graph import (
    ATOM_COLUMNS,
    ATOM_INPUTS,
    BOND_COLUMNS,
    BOND_INPUTS,
    atom_codes,
    atom_key,
    atom_keys,
    bond_codes,
    bond_key,
    bond_keys,
    unknown_columns,
)
from sharding.structure import read_with_getters
from sharding.surroundings import sum_up


def _meaning(columns, key):
    """The stored integers as words: {column: class or number}."""
    words = {}
    for column, value in zip(columns, key, strict=True):
        if column.kind == "one_hot":
            words[column.name] = column.meaning[value] if value < column.width else "unknown"
        elif column.kind == "flags":
            words[column.name] = {m for bit, m in enumerate(column.meaning) if value >> bit & 1}
        else:
            words[column.name] = value
    return words


def test_the_table_has_39_and_10_inputs():
    assert (ATOM_INPUTS, BOND_INPUTS) == (39, 10)


def test_features_say_what_rdkit_says(zinc):
    for smiles in zinc[:150]:
        molecule = Chem.MolFromSmiles(smiles)
        centres = dict(
            Chem.FindMolChiralCenters(molecule, includeUnassigned=True, useLegacyImplementation=True)
        )
        for atom, key in zip(molecule.GetAtoms(), atom_keys(molecule), strict=True):
            words = _meaning(ATOM_COLUMNS, key)
            assert words["symbol"] == atom.GetSymbol()
            assert words["degree"] == str(len(atom.GetNeighbors()))
            assert words["formal_charge"] == atom.GetFormalCharge()
            assert words["hydrogens"] == str(atom.GetTotalNumHs())
            assert words["hybridisation"] == atom.GetHybridization().name
            assert bool(words["aromatic"]) == atom.GetIsAromatic()
            label = centres.get(atom.GetIdx())
            assert ("possible" in words["chirality"]) == (label is not None)
            assert words["chirality"] - {"possible"} == ({label} if label in ("R", "S") else set())
        for bond, (key, ends) in zip(molecule.GetBonds(), bond_keys(molecule), strict=True):
            words = _meaning(BOND_COLUMNS, key)
            assert ends == (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
            assert words["type"] == bond.GetBondType().name
            assert words["stereo"] == bond.GetStereo().name
            assert bool(words["conjugated"]) == bond.GetIsConjugated()
            assert bool(words["in_ring"]) == bond.IsInRing()


@pytest.mark.parametrize(
    ("smiles", "atoms", "bonds"),
    [
        ("FS(F)(F)(F)F", [], []),  # five neighbours are in the table
        ("FI(F)(F)(F)(F)(F)F", ["degree"], []),  # seven; the original code raises here
        ("[CH5-]", ["hydrogens"], []),
        ("N->[Pt](Cl)Cl", [], ["type"]),  # dative
    ],
)
def test_what_the_table_lacks_is_unknown_and_not_an_error(smiles, atoms, bonds):
    molecule = Chem.MolFromSmiles(smiles, sanitize=False)
    molecule.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(molecule)
    Chem.SetHybridization(molecule)
    assert sorted({name for key in atom_keys(molecule) for name in unknown_columns(key)}) == atoms
    assert sorted({name for key, _ in bond_keys(molecule) for name in unknown_columns(key)}) == bonds


@pytest.fixture(scope="module")
def molecules(zinc, request):
    """Real ones: every fourth of ZINC and of the messier ESOL and BBBP. And the reader's own probes."""
    lines = [*zinc[::4], *binary.PROBES]
    for name in ("esol.csv", "bbbp.csv"):
        with (request.config.rootpath / "tests" / "data" / name).open() as table:
            lines += [row["smiles"] for row in csv.DictReader(table)][::4]
    with rdBase.BlockLogs():
        return [molecule for line in lines if (molecule := Chem.MolFromSmiles(line))]


def _features(structure):
    return (
        [atom_key(code) for code in atom_codes(structure)],
        [
            (bond_key(code), (bond.first, bond.second))
            for code, bond in zip(bond_codes(structure), structure.bonds, strict=True)
        ],
    )


def test_the_binary_form_says_what_the_getters_say(molecules):
    assert binary.reader().name == "binary", binary.reader().reason
    declined = 0
    for molecule in molecules:
        decoded = binary.decode(molecule)
        if decoded is None:
            declined += 1
            continue
        assert binary.same(decoded, read_with_getters(molecule)), Chem.MolToSmiles(molecule)
        assert _features(decoded) == (atom_keys(molecule), bond_keys(molecule)), Chem.MolToSmiles(molecule)
    assert declined < 10


@pytest.mark.parametrize(
    "molecule",
    [
        Chem.MolFromSmiles("C" * 256),
        Chem.MolFromSmiles("[CH3:1]O"),
        Chem.MolFromSmarts("[#6]~[!C]"),
        Chem.MolFromSequence("AG"),
    ],
    ids=["256 atoms", "atom map", "query", "residues"],
)
def test_what_the_binary_reader_does_not_foresee_goes_to_the_getters(molecule):
    molecule.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(molecule)
    assert binary.decode(molecule) is None
    assert _features(binary.read(molecule)) == (atom_keys(molecule), bond_keys(molecule))


def test_another_layout_is_noticed(monkeypatch):
    """As if a release of RDKit wrote aromaticity into another bit, or another header."""
    monkeypatch.setattr(binary, "_ATOM_KINDS", binary._AtomKinds())
    monkeypatch.setattr(binary, "AROMATIC", 0x20)
    assert binary.reader.__wrapped__().name == "getters"
    monkeypatch.undo()
    monkeypatch.setattr(binary, "ATOMS_BEGIN", b"\x81\x01")
    assert "unknown" in binary.reader.__wrapped__().reason
    monkeypatch.undo()
    monkeypatch.setattr(binary, "reader", lambda: binary.Reader("getters", "for this test"))
    molecule = Chem.MolFromSmiles("C[C@H](N)C(=O)O")
    assert _features(binary.read(molecule)) == (atom_keys(molecule), bond_keys(molecule))


def test_sums_over_surroundings_are_rdkits(molecules):
    """log P and polar surface, learned from other molecules, and then with nothing left to learn."""
    for molecule in molecules * 2:
        whole = sum_up(binary.read(molecule))
        assert whole.log_p == pytest.approx(rdMolDescriptors.CalcCrippenDescriptors(molecule)[0], abs=1e-6)
        assert whole.polar_surface == pytest.approx(rdMolDescriptors.CalcTPSA(molecule), abs=1e-6)
