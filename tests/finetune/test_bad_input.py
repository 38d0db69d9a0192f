"""Every bad table and every bad folder ends in one line through the real doorway, and leaves what was there alone."""

import json
import shutil
from pathlib import Path

import pytest

from launch import embed, finetune
from tests.finetune.conftest import DATA, rows_of

LABELLED = [(row["smiles"].strip(), row["log_solubility"]) for row in rows_of(DATA / "esol.csv")[:60:2]]


def csv_of(labelled: list[tuple[str, object]], header: str = "smiles,y") -> str:
    """A table of two columns."""
    return "\n".join([header, *(f"{smiles},{label}" for smiles, label in labelled)]) + "\n"


GOOD = csv_of(LABELLED)
ONE_CLASS = csv_of([(smiles, int(place < 24)) for place, (smiles, _) in enumerate(LABELLED)])
CLASSES = {"task": "classification", "split": "file"}
TABLES = {
    "wrong column": (GOOD, {"smiles": "smile"}, "table.csv. Did you mean 'smiles'?"),
    "wrong target": (
        GOOD.replace(",y", ",yield"),
        {"targets": "[yeild]"},
        "'yeild' is not in table.csv. Did you mean 'yield'?",
    ),
    "wrong column of the split": (
        GOOD.replace(",y", ",y,part"),
        {"split": "column", "split_column": "prat"},
        "split_column 'prat' is not in the table. Did you mean 'part'?",
    ),
    "wrong column of a named set": (
        GOOD.replace(",y", ",expt"),
        {"dataset": "freesolv", "task": None, "targets": None, "smiles": "smyles"},
        "column 'smyles' is not in table.csv. Did you mean 'smiles'?",
    ),
    "two targets of one name": (GOOD.replace(",y", ",y,y"), {}, "several columns named 'y'"),
    "two columns of SMILES": (GOOD.replace(",y", ",y,smiles"), {}, "table.csv 2 times"),
    "all labels missing": (csv_of([(smiles, "") for smiles, _ in LABELLED]), {}, "no label in any row"),
    "one class": (csv_of([(smiles, 1) for smiles, _ in LABELLED]), CLASSES, "has one class only, 1"),
    "one class to train on": (
        ONE_CLASS, CLASSES, "target 'y' has one class only in the training part of split=file (24 molecules)"
    ),
    "no label to train on": (
        csv_of([(smiles, y if place > 23 else "") for place, (smiles, y) in enumerate(LABELLED)]),
        {"split": "file"},
        "target 'y' has no label in the training part of split=file",
    ),
    "one class to choose the epoch by": (
        csv_of([(smiles, int(place < 12)) for place, (smiles, _) in enumerate(LABELLED)]),
        CLASSES,
        "roc_auc, which chooses the epoch, is not defined on the valid part of split=file (3 molecules)",
    ),
    "text": (csv_of([("CCO", 1), ("CCC", "high")]), {}, "line 3, is 'high'. Expected a number"),
    "empty": ("", {}, "table.csv is empty"),
    "a mark and nothing else": ("\ufeff", {}, "table.csv has no header"),
    "a header and nothing else": ("smiles,y\n", {}, "a header and no rows"),
    "UTF-16": (GOOD.encode("utf-16"), {}, "table.csv is UTF-16 text. Save it as UTF-8."),
    "another separator": (GOOD.replace(",", ";"), {}, "Its columns look separated by ';'"),
    "a metric of the other task": (
        GOOD, {"metric": "roc_auc"}, "metric=roc_auc does not fit task=regression. Give rmse or mae."
    ),
    "a metric that does not fit the named set": (
        GOOD.replace(",y", ",expt"),
        {"dataset": "freesolv", "task": None, "targets": None, "metric": "pr_auc"},
        "metric=pr_auc does not fit task=regression",
    ),
    "repeated molecules": (
        GOOD + csv_of(LABELLED[:2], "CCO,1"),
        {"duplicates": "refuse"},
        "stand more than once: 2; of these with labels that differ: 0; ",
    ),
    "conflicting molecules": (
        csv_of([*LABELLED, LABELLED[1], ("OCC", 1), ("C(C)O", 2)]),
        {"duplicates": "refuse"},
        "with labels that differ: 1; for example CCO in rows 31, 32 (the first is 0)",
    ),
    "no such choice": (GOOD, {"duplicates": "drop"}, "expected one of [keep, first, agreeing, refuse]"),
}  # fmt: skip


@pytest.fixture
def given(graph_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Options of the doorway; `table.csv` and `split.json` lie where it is called."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text(GOOD)
    parts = {"train": [*range(24)], "valid": [24, 25, 26], "test": [27, 28, 29]}
    (tmp_path / "split.json").write_text(json.dumps(parts))
    return {
        "encoder": str(graph_encoder), "table": "table.csv", "targets": "[y]", "task": "regression", "run": "run"
    }  # fmt: skip


def refused(options: dict[str, str | None], capsys: pytest.CaptureFixture[str], door=finetune) -> str:
    """The one line; nothing was made or lost."""
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    code = door.main([f"{name}={value}" for name, value in options.items() if value is not None])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1, captured.err
    assert before == {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert not Path("run").exists()
    return captured.err


@pytest.mark.parametrize("case", TABLES)
def test_a_bad_table_is_one_line(case, given, capsys):
    table, changed, expected = TABLES[case]
    Path("table.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    if changed.get("split") == "file":
        changed = changed | {"split_file": "split.json"}
    assert expected in refused(given | changed, capsys)


def test_a_mark_before_the_header_is_no_part_of_its_name(given, capsys):
    """As spreadsheets write it. Fine-tuned, and in the output the name is as it was meant."""
    Path("table.csv").write_text("\ufeff" + GOOD)
    small = {"epochs": "1", "modalities": "[graph]", "fusion": "sum"}
    assert finetune.main([f"{name}={value}" for name, value in (given | small).items()]) == 0
    assert list(rows_of(Path("run/predictions.csv"))[0])[:2] == ["smiles", "y"]


CONFIGS = {
    "another schema": (lambda told: {**told, "schema": 0}, "holds an encoder of schema 0"),
    "another feature table": (lambda told: {**told, "features": []}, "or of another feature table"),
    "other tokenizers": (lambda told: {**told, "tokenizers": {}}, "tokenizers are not those of its config"),
    "an unknown field": (lambda told: {**told, "model": {"x": 1}}, "config.json is not as it was written"),
    "a field that is gone": (
        lambda told: {name: told[name] for name in told if name != "streams"},
        "config.json is not as it was written ('streams')",
    ),
    "a list": (lambda told: [told], "config.json is no encoder's"),
    "other sizes": (
        lambda told: {**told, "model": {**told["model"], "projection": 4}},
        "model.safetensors does not fit its config.json",
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_bad_encoder_folder_is_one_line(case, given, capsys):
    change, expected = CONFIGS[case]
    shutil.copytree(given["encoder"], "encoder")
    file = Path("encoder/config.json")
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    assert expected in refused({**given, "encoder": "encoder"}, capsys)
    embedding = {"encoder": "encoder", "table": "table.csv", "output": "out.csv"}
    assert expected in refused(embedding, capsys, embed)
