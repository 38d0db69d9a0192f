"""The 39 + 10 features against RDKit's own words, atom by atom; the binary reader against the getters."""

import csv
from collections import Counter

import numpy as np
import pytest
from rdkit import Chem, rdBase
from rdkit.Chem import rdMolDescriptors

from sharding import binary
from sharding.feature_table import ATOM_COLUMNS, ATOM_INPUTS, BOND_COLUMNS, BOND_INPUTS
from sharding.graph import (
    atom_columns,
    atom_keys,
    bond_columns,
    bond_ends,
    bond_keys,
    unknown_columns,
)
from sharding.structure import read_with_getters
from sharding.text import surroundings
from sharding.text.surroundings import sum_up


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


def _features(structures):
    """Of all molecules in one list, as the getters say it."""
    atoms, unknown_atoms = atom_columns(structures)
    bonds, unknown_bonds = bond_columns(structures)
    keys, ends = map(tuple, bonds.tolist()), map(tuple, bond_ends(structures).tolist())
    return (
        list(map(tuple, atoms.tolist())),
        list(zip(keys, ends, strict=True)),
        unknown_atoms,
        unknown_bonds,
    )


def _features_by_getters(molecules):
    atoms = [key for molecule in molecules for key in atom_keys(molecule)]
    bonds = [pair for molecule in molecules for pair in bond_keys(molecule)]
    return (
        atoms,
        bonds,
        Counter(name for key in atoms for name in unknown_columns(key)),
        Counter(name for key, _ in bonds for name in unknown_columns(key)),
    )


def test_the_binary_form_says_what_the_getters_say(molecules):
    """One at a time, and all at once, where a molecule that is declined stands between others."""
    assert binary.reader().name == "binary", binary.reader().reason
    declined = 0
    for molecule in molecules[::3]:
        decoded = binary.decoded([molecule])
        declined += not len(decoded.n_atoms)
        if len(decoded.n_atoms):
            assert binary.same(decoded, read_with_getters(molecule)), Chem.MolToSmiles(molecule)
    assert declined < 10
    assert _features(binary.read(molecules)) == _features_by_getters(molecules)


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
    Chem.AssignStereochemistry(molecule, force=True, flagPossibleStereoCenters=True)
    assert not len(binary.decoded([molecule]).n_atoms)
    between = [Chem.MolFromSmiles("CC(=O)O"), molecule, molecule, Chem.MolFromSmiles("c1ccccc1"), molecule]
    assert _features(binary.read(between)) == _features_by_getters(between)


def test_no_molecules_are_no_rows():
    assert _features(binary.read([])) == ([], [], Counter(), Counter())


def test_bytes_that_end_too_early_are_declined():
    """Whatever another layout makes of the counts: nothing is read beyond a molecule's bytes."""
    form = np.frombuffer(Chem.MolFromSmiles("Cc1ccc(/C=C/[N+])cc1", sanitize=False).ToBinary(0), np.uint8)
    header = form[: binary.HEADER]
    for length in range(binary.RECORDS, len(form)):
        n_atoms, *_ = binary._decode(form[:length].copy(), np.array([0, length]), header)
        assert len(n_atoms) <= 1


def _uncompiled(monkeypatch):
    """Compiled functions have their constants built in."""
    for name in ("_decode", "_decode_atoms", "_decode_bonds", "_decode_rings"):
        monkeypatch.setattr(binary, name, getattr(binary, name).py_func)


def test_another_layout_is_noticed(monkeypatch):
    """As if a release of RDKit wrote aromaticity into another bit, or another header."""
    monkeypatch.setattr(binary, "PROBES", [smiles for smiles in binary.PROBES if len(smiles) < 80])
    _uncompiled(monkeypatch)
    assert binary.reader.__wrapped__().name == "binary"
    with monkeypatch.context() as changed:
        changed.setattr(binary, "ATOM_AROMATIC", 0x20)
        assert binary.reader.__wrapped__().name == "getters"
    with monkeypatch.context() as changed:
        changed.setattr(binary, "ATOMS_BEGIN", 0x0181)
        assert "unknown" in binary.reader.__wrapped__().reason
    monkeypatch.setattr(binary, "reader", lambda: binary.Reader("getters", "for this test"))
    molecules = [Chem.MolFromSmiles("C[C@H](N)C(=O)O"), Chem.MolFromSmiles("CC=O")]
    assert _features(binary.read(molecules)) == _features_by_getters(molecules)


def test_sums_over_surroundings_are_rdkits(molecules):
    """log P and polar surface, learned from other molecules, and then with nothing left to learn."""
    for start in list(range(0, len(molecules), 97)) * 2:
        some = molecules[start : start + 97]
        log_p, polar_surface = sum_up(binary.read(some))
        crippen = [rdMolDescriptors.CalcCrippenDescriptors(molecule)[0] for molecule in some]
        assert log_p.tolist() == pytest.approx(crippen, abs=1e-6)
        assert polar_surface.tolist() == pytest.approx(list(map(rdMolDescriptors.CalcTPSA, some)), abs=1e-6)


def test_a_full_table_is_emptied_and_learned_again(molecules, monkeypatch):
    monkeypatch.setattr(surroundings, "MOST", 20)
    monkeypatch.setattr(surroundings, "_known", surroundings._Known())
    for molecule in molecules[:60]:
        log_p, _ = sum_up(binary.read([molecule]))
        assert log_p[0] == pytest.approx(rdMolDescriptors.CalcCrippenDescriptors(molecule)[0], abs=1e-6)
