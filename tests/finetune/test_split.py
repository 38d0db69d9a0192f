"""Splits: whole scaffolds, the published definition, the same every time, and the user's own."""

import csv
import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.split import (
    Split,
    assert_no_scaffold_straddles,
    murcko_scaffolds,
    random_split,
    read_split,
    scaffold_split,
)
from sharding.errors import UserError

DATA = Path(__file__).parents[1] / "data"
FRACTIONS = [0.8, 0.1, 0.1]
with (DATA / "bbbp.csv").open() as stream:
    SMILES = [row["smiles"].strip() for row in csv.DictReader(stream)][:300]
SCAFFOLDS = murcko_scaffolds(SMILES)


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.integers(0, len(SMILES) - 1), min_size=5, max_size=60, unique=True))
def test_scaffold_parts_are_disjoint_whole_and_within_their_shares(rows):
    split = scaffold_split([SMILES[row] for row in rows], rows, FRACTIONS)
    assert sorted([*split.train, *split.valid, *split.test]) == sorted(rows)
    home = {}
    for part, members in split.parts.items():
        for row in members:
            assert home.setdefault(SCAFFOLDS[row], part) == part
    assert len(split.train) <= 0.8 * len(rows)
    assert len(split.train) + len(split.valid) <= 0.9 * len(rows) + 1e-9


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(40)))
def test_the_order_of_the_molecules_has_no_say(order):
    """Rows decide ties, not the order in which molecules are handed over."""
    expected = scaffold_split(SMILES[:40], range(40), FRACTIONS)
    assert scaffold_split([SMILES[row] for row in order], order, FRACTIONS) == expected


def test_a_group_goes_where_it_fits():
    """10 rows, limits 6 and 8. The 5 without a ring train; 3 benzenes would make 8 and validate; of the
    single ones the later row comes first: pyridine trains (6), furan fits neither 6 nor 8 and tests."""
    smiles = ["C", "CC", "CCC", "CCO", "CCN", "c1ccccc1", "Cc1ccccc1", "CCc1ccccc1", "c1ccoc1", "c1ccncc1"]
    split = scaffold_split(smiles, range(10), [0.6, 0.2, 0.2])
    assert split == Split(train=[0, 1, 2, 3, 4, 9], valid=[5, 6, 7], test=[8])


@pytest.mark.parametrize(("name", "column"), [("esol", "smiles"), ("bace", "mol")])
def test_agrees_with_deepchem(name, column):
    """Row for row with DeepChem's own scaffold splitter, on published index files."""
    folder = Path(os.environ.get("MOLPARALLAX_DATA", "")) / "splits"
    if "MOLPARALLAX_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("MOLPARALLAX_DATA names no folder with the published splits")
    published = json.loads(gzip.decompress((folder / f"{name}.json.gz").read_bytes()))["deepchem_scaffold"]
    with gzip.open(folder.parent / f"{name}.csv.gz", "rt", newline="") as stream:
        smiles = [row[column].strip() for row in csv.DictReader(stream)]
    ours = scaffold_split(smiles, range(len(smiles)), FRACTIONS)
    assert ours.parts == {part: sorted(rows) for part, rows in published.items()}


def test_a_straddling_scaffold_is_caught():
    with pytest.raises(AssertionError, match="is in train and in test"):
        assert_no_scaffold_straddles(Split([0], [1], [2]), {0: "c1ccccc1", 1: "", 2: "c1ccccc1"})
    with pytest.raises(AssertionError, match="in two parts"):
        Split([0, 1], [1], [2])


def test_random_depends_on_the_seed_alone():
    rows = [3, 9, 4, 40, 11, 27, 8, 1, 30, 22]
    split = random_split(rows, FRACTIONS, seed=5)
    assert split.sizes == {"train": 8, "valid": 1, "test": 1}
    assert split == random_split(rows[::-1], FRACTIONS, seed=5)
    assert any(random_split(rows, FRACTIONS, seed=seed) != split for seed in (6, 7))


def test_the_identity_is_that_of_the_parts():
    split = Split([0, 2], [1], [3])
    assert split.sha256 == Split([0, 2], [1], [3]).sha256 != Split([0, 2], [3], [1]).sha256
    assert len(split.sha256) == 64


def test_the_users_split_loses_rejected_rows_only(tmp_path):
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": [4, 0], "valid": [1], "test": [3]}))
    assert read_split(path, rows=[0, 1, 2, 3], n_rows=5) == Split([0], [1], [3])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "is not JSON"),
        ("[1, 2]", "other parts"),
        ('{"train": [0], "test": [1]}', "other parts"),
        ('{"train": [0], "valid": [1], "test": [5]}', "test holds 5; the table has rows 0 to 4"),
        ('{"train": [0], "valid": ["1"], "test": [2]}', "valid holds '1'"),
        ('{"train": [0], "valid": 1.5, "test": [2]}', "valid holds 1.5"),
        ('{"train": [0], "valid": [0], "test": [2]}', "row 0 stands twice"),
    ],
)
def test_a_bad_split_file_is_refused_in_one_line(tmp_path, text, expected):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(UserError) as refusal:
        read_split(path, rows=range(5), n_rows=5)
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)
