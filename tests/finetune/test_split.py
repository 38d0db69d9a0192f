"""Splits: whole groups, the published definitions, the same every time, and the user's own."""

import csv
import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.split import Split, assert_no_group_straddles, random_split
from finetune.split.given import column_split, read_split, time_split
from finetune.split.groups import butina_clusters, by_chance, by_size, murcko_scaffolds
from sharding.errors import UserError

DATA = Path(__file__).parents[1] / "data"
FRACTIONS = [0.8, 0.1, 0.1]
with (DATA / "bbbp.csv").open() as stream:
    SMILES = [row["smiles"].strip() for row in csv.DictReader(stream)][:300]
SCAFFOLDS = murcko_scaffolds(SMILES)


def scaffold_split(smiles, rows, fractions):
    """The default split of these molecules."""
    return by_size(rows, murcko_scaffolds(smiles), fractions)


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
        assert_no_group_straddles(Split([0], [1], [2]), {0: "c1ccccc1", 1: "", 2: "c1ccccc1"})
    with pytest.raises(AssertionError, match="in two parts"):
        Split([0, 1], [1], [2])


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(st.integers(0, len(SMILES) - 1), min_size=20, max_size=80, unique=True),
    seed=st.integers(0, 9),
)
def test_balanced_scaffolds_are_whole_fill_up_and_depend_on_the_seed_alone(rows, seed):
    groups = [SCAFFOLDS[row] for row in rows]
    split = by_chance(rows, groups, FRACTIONS, seed)
    assert sorted([*split.train, *split.valid, *split.test]) == sorted(rows)
    assert_no_group_straddles(split, dict(zip(rows, groups, strict=True)))
    assert split == by_chance(rows[::-1], groups[::-1], FRACTIONS, seed)
    sizes = {group: groups.count(group) for group in groups}
    large = {row for row, group in zip(rows, groups, strict=True) if sizes[group] > 0.05 * len(rows)}
    if len(large) <= 0.8 * len(rows):
        assert large <= set(split.train)


def test_balanced_scaffolds_differ_by_seed():
    splits = {by_chance(range(300), SCAFFOLDS, FRACTIONS, seed).sha256 for seed in range(5)}
    assert len(splits) == 5


def test_clusters_are_butinas():
    """The same partition as RDKit's own clustering of the whole distance matrix."""
    from rdkit import Chem, DataStructs
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
    from rdkit.ML.Cluster import Butina

    prints = [
        GetMorganGenerator(radius=2, fpSize=2048).GetFingerprint(Chem.MolFromSmiles(text)) for text in SMILES
    ]
    distances = [
        1 - similarity
        for place in range(1, len(prints))
        for similarity in DataStructs.BulkTanimotoSimilarity(prints[place], prints[:place])
    ]
    for similarity in (0.3, 0.6):
        found = butina_clusters(SMILES, similarity)
        ours = {frozenset((found == cluster).nonzero()[0].tolist()) for cluster in set(found.tolist())}
        theirs = Butina.ClusterData(distances, len(prints), 1 - similarity, isDistData=True)
        assert ours == {frozenset(members) for members in theirs}


def test_time_goes_forward_and_equal_times_stay_together():
    values = ["2020-01-05", "2019-12-31", "2021-06-01", "2020-01-05", "2022-01-01", "2018-03-03"]
    split = time_split(range(6), values, "measured", [0.5, 0.25, 0.25])
    assert split == Split(train=[0, 1, 3, 5], valid=[], test=[2, 4])
    assert time_split([0, 2, 3], ["1", "", "10", "2.5"], "year", [0.34, 0.33, 0.33]) == Split([0], [3], [2])
    with pytest.raises(UserError, match=r"'year' holds 'late' in row 1. Expected a number or a date"):
        time_split(range(2), ["1", "late"], "year", FRACTIONS)
    with pytest.raises(UserError, match="holds 'nan'"):
        time_split(range(2), ["1", "nan"], "year", FRACTIONS)


def test_a_column_names_the_parts():
    values = ["Train", "val", "", "TEST", "training", "test"]
    assert column_split([0, 1, 2, 3, 4], values, "split") == Split([0, 4], [1], [3])
    with pytest.raises(UserError, match=r"'split' holds 'later' in row 0.*split=time"):
        column_split([0], ["later"], "split")


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
