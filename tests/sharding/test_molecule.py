import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase

from sharding.molecule import REASONS, Rejected, canonicalise

LIMITS = {"max_atoms": 100, "max_characters": 300}


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("", "empty"),
        ("C" * 301, "too_long"),
        ("CC O", "whitespace"),  # RDKit alone reads CC and calls it O
        ("CC\tO", "whitespace"),
        ("\ufeffCC", "not_ascii"),
        ("CC\u00e9", "not_ascii"),  # RDKit alone drops the tail
        ("CC\x00", "not_ascii"),
        ("C1CC", "syntax"),
        ("[C][C][O", "syntax"),
        ("C(C)(C)(C)(C)C", "valence"),
        ("c1cccc1", "kekulization"),
        ("*CC", "dummy_atom"),
        ("[#0]CC", "dummy_atom"),
        ("C" * 101, "too_many_atoms"),
    ],
)
def test_a_rejection_names_its_reason(smiles, reason):
    with rdBase.BlockLogs(), pytest.raises(Rejected) as caught:
        canonicalise(smiles, **LIMITS)
    assert caught.value.reason == reason
    assert reason in REASONS


def test_every_writing_of_a_molecule_is_one_canonical_smiles(zinc):
    for smiles in zinc[:200]:
        molecule = Chem.MolFromSmiles(smiles)
        canonical = canonicalise(smiles, **LIMITS)
        for written in Chem.MolToRandomSmilesVect(molecule, 3, randomSeed=7):
            assert canonicalise(written, **LIMITS) == canonical


def test_atom_map_numbers_are_no_chemistry():
    assert canonicalise("[CH3:1][OH:2]", **LIMITS) == "CO"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="CNOcn()[]=#@+-1234%/\\.:*HBr \t\u00e9", max_size=40))
def test_any_string_is_a_molecule_or_a_named_rejection(text):
    with rdBase.BlockLogs():
        try:
            canonical = canonicalise(text, **LIMITS)
        except Rejected as rejection:
            assert rejection.reason in REASONS
        else:
            assert canonical
            assert Chem.MolFromSmiles(text).GetNumAtoms() <= LIMITS["max_atoms"]
