"""Molecules that stand twice: the public sets keep theirs, they are counted and said, and left out where asked."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem, rdBase

from finetune.config import Duplicates, FinetuneConfig, SplitKind, Task
from finetune.duplicates import Repeated, find_repeated, used
from finetune.job import finetune, summary
from tests.finetune.conftest import DATA, rows_of, write_rows

Configured = Callable[..., FinetuneConfig]
NAN = np.nan


def test_found_by_hand():
    """a: labels differ. b: each target once. c: alike. d: alone."""
    smiles = ["a", "b", "c", "a", "d", "b", "c", "a"]
    labels = np.array([[1, 0], [1, NAN], [2, 2], [1, 1], [5, 5], [NAN, 0], [2, 2], [1, NAN]])
    found = find_repeated(smiles, labels)
    assert found == Repeated(groups=[[0, 3, 7], [1, 5], [2, 6]], conflicting=[[0, 3, 7]])
    assert used(found, 8, Duplicates.keep).tolist() == [*range(8)]
    assert used(found, 8, Duplicates.first).tolist() == [0, 1, 2, 4]
    assert used(found, 8, Duplicates.agreeing).tolist() == [1, 2, 4]


def test_a_public_set_keeps_its_rows():
    """BBBP: 64 rows repeat a molecule, 10 molecules have both classes, and the default takes none away."""
    rows = rows_of(DATA / "bbbp.csv")
    with rdBase.BlockLogs():
        smiles = [Chem.CanonSmiles(row["smiles"]) for row in rows]
    found = find_repeated(smiles, np.array([[float(row["p_np"])] for row in rows]))
    assert sum(len(group) - 1 for group in found.groups) == 64
    assert len(found.conflicting) == 10
    assert len(used(found, len(rows), FinetuneConfig.duplicates)) == len(rows) == 2039


@pytest.fixture
def repeated(configured: Configured, tmp_path: Path) -> Path:
    """40 molecules of ESOL; the first three again, spelled backwards: one alike, two with another label."""
    rows = rows_of(Path(configured().table))[:40]
    rows += [{"smiles": "OCC", "log_solubility": "1"}, {"smiles": "CCO", "log_solubility": "1.0"}]
    rows += [{**row, "log_solubility": "9"} for row in rows[:2]]
    return write_rows(tmp_path / "repeated.csv", rows)


def test_a_run_says_what_stands_twice_and_what_straddles(
    configured: Configured, repeated: Path, tmp_path: Path
):
    split = {"train": [*range(30), 40], "valid": [*range(30, 38)], "test": [38, 39, 41, 42, 43]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    config = configured(
        table=str(repeated), split=SplitKind.file, split_file=str(tmp_path / "split.json"), epochs=1
    )
    metrics = finetune(config)
    assert metrics["duplicates"] == {
        "choice": "keep", "molecules": 3, "rows": 6, "conflicting": 2, "conflicting_rows": [[0, 42], [1, 43]]
    }  # fmt: skip
    assert metrics["split"]["test_seen_in_train"] == 3
    assert (
        "molecules that stand more than once: 3 (6 rows), with labels that differ: 2; "
        "test rows of molecules that train: 3 (duplicates=keep)" in summary(config, metrics)
    )


@pytest.mark.parametrize(("choice", "unused"), [("first", {41, 42, 43}), ("agreeing", {0, 1, 41, 42, 43})])
def test_left_out_rows_train_and_test_nothing_and_are_still_predicted(
    choice: str, unused: set[int], configured: Configured, repeated: Path, tmp_path: Path
):
    config = configured(table=str(repeated), duplicates=Duplicates(choice), split=SplitKind.random, epochs=1)
    metrics = finetune(config)
    found = rows_of(tmp_path / "run" / "predictions.csv")
    assert {row for row, fields in enumerate(found) if not fields["split"]} == unused
    assert all(row["log_solubility_predicted"] for row in found)
    assert metrics["split"]["test_seen_in_train"] == 0
    assert f"(duplicates={choice})" in summary(config, metrics)


def test_a_target_of_one_class_in_a_part_is_named_with_what_follows(
    configured: Configured, bbbp: Path, tmp_path: Path
):
    """`a` has both classes everywhere; the others one class, or no label, in one part each."""
    parts = {"train": [*range(120)], "valid": [*range(120, 140)], "test": [*range(140, 160)]}
    (tmp_path / "split.json").write_text(json.dumps(parts))
    part_of = {row: part for part, members in parts.items() for row in members}
    rows = rows_of(bbbp)
    for place, row in enumerate(rows):
        del row["p_np"]
        row["a"] = str(place % 2)
        for part in parts:
            row[f"one_in_{part}"] = "1" if part_of[place] == part else row["a"]
        row["none_in_test"] = "" if part_of[place] == "test" else row["a"]
    targets = ["a", "one_in_train", "one_in_valid", "one_in_test", "none_in_test"]
    config = configured(
        table=str(write_rows(tmp_path / "parts.csv", rows)), targets=targets, task=Task.classification,
        split=SplitKind.file, split_file=str(tmp_path / "split.json"), epochs=1,
    )  # fmt: skip
    metrics = finetune(config)
    assert metrics["train"]["undefined"] == {"one_in_train": "one class only"}
    assert metrics["valid"]["undefined"] == {"one_in_valid": "one class only"}
    assert metrics["test"]["undefined"] == {"one_in_test": "one class only", "none_in_test": "no label"}
    scored = [metrics["test"]["targets"][name]["roc_auc"] for name in targets[:3]]
    assert metrics["test"]["roc_auc"] == pytest.approx(sum(scored) / 3)
    said = summary(config, metrics)
    for line in (
        "one_in_train: one class only in the train part: nothing of it was learned",
        "one_in_valid: one class only in the valid part: no say in the choice of the epoch",
        "one_in_test: one class only in the test part: no score, and not in the mean",
        "none_in_test: no label in the test part: no score, and not in the mean",
    ):
        assert line in said
