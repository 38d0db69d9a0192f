"""A run: what it leaves, for every row of the table, and that its model predicts the same again."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from finetune.config import FinetuneConfig, Fusion, PredictConfig, SplitKind, Task
from finetune.job import finetune, summary
from finetune.predict import predict
from finetune.split import Split
from sharding.errors import UserError
from tests.finetune.conftest import DATA, rows_of, write_rows

Configured = Callable[..., FinetuneConfig]


def test_a_run_leaves_its_contract(configured: Configured):
    config = configured()
    metrics = finetune(config)
    run = Path(config.run)
    assert {path.name for path in run.iterdir()} == {
        "config.yaml", "split.json", "history.jsonl", "metrics.json", "predictions.csv", "model"
    }  # fmt: skip
    assert json.loads((run / "metrics.json").read_text()) == metrics
    split = Split(**json.loads((run / "split.json").read_text()))
    assert metrics["split"] == {
        "kind": "scaffold", "sha256": split.sha256, "sizes": split.sizes, "test_seen_in_train": 0
    }  # fmt: skip
    assert metrics["encoder"]["origin"] == {"run": "none: random weights"}
    assert metrics["n"] == 160 == sum(split.sizes.values())
    assert metrics["rejected"] == {}
    said = summary(config, metrics)
    assert split.sha256[:12] in said
    assert f"test rmse {metrics['test']['rmse']:.4f}   baseline {metrics['baseline']['rmse']:.4f}" in said


def test_scores_are_those_of_the_predictions_and_the_training_mean(configured: Configured):
    """predictions.csv is enough to compute the test score and its baseline again."""
    config = configured()
    metrics = finetune(config)
    rows = rows_of(Path(config.run) / "predictions.csv")
    truth = np.array([float(row["log_solubility"]) for row in rows])
    answer = np.array([float(row["log_solubility_predicted"]) for row in rows])
    part = np.array([row["split"] for row in rows])
    test, train = part == "test", part == "train"
    rmse = np.sqrt(((answer - truth)[test] ** 2).mean())
    assert metrics["test"]["rmse"] == pytest.approx(rmse, rel=1e-6)
    baseline = np.sqrt(((truth[train].mean() - truth[test]) ** 2).mean())
    assert metrics["baseline"]["rmse"] == pytest.approx(baseline, rel=1e-6)


def test_every_row_comes_back_in_order_with_its_reason(configured: Configured, tmp_path: Path):
    rows = rows_of(Path(configured().table))
    rows[50:50] = [
        {"smiles": smiles, "log_solubility": "1.5"}
        for smiles in ("not a molecule", "C(C)(C)(C)(C)C", "", "*CC")
    ]
    table = write_rows(tmp_path / "holes.csv", [{"id": str(n), **row} for n, row in enumerate(rows)])
    metrics = finetune(configured(table=str(table)))
    found = rows_of(tmp_path / "run" / "predictions.csv")
    assert [{name: row[name] for name in ("smiles", "log_solubility")} for row in found] == rows
    assert [row["id"] for row in found] == [str(n) for n in range(164)]
    assert [row["error"] for row in found[50:54]] == ["whitespace", "valence", "empty", "dummy_atom"]
    for n, row in enumerate(found):
        assert (row["log_solubility_predicted"] == "") == (row["split"] == "") == (50 <= n < 54)
    assert metrics["rejected"] == {"whitespace": 1, "valence": 1, "empty": 1, "dummy_atom": 1}
    assert metrics["n"] == 164


def test_the_model_predicts_the_same_again(configured: Configured, tmp_path: Path, four_views: Path):
    """From its own folder, moved, in pieces of another size, with bad rows between: as in predictions.csv."""
    config = configured(
        encoder=str(four_views),
        freeze=False,
        epochs=1,
        modalities=[],
        fusion=Fusion.cross_attention,
        members=2,
    )
    metrics = finetune(config)
    assert [member["seed"] for member in metrics["members"]] == [0, 1]
    (tmp_path / "run" / "model").rename(tmp_path / "moved")
    rows = rows_of(Path(config.table))
    rows.insert(3, {"smiles": "C1CC", "log_solubility": ""})
    table = write_rows(tmp_path / "more.csv", rows)
    output = tmp_path / "predicted.csv"
    account = predict(
        PredictConfig(finetuned=str(tmp_path / "moved"), table=str(table), output=str(output), batch=7)
    )
    assert (account.n, account.rejected) == (161, {"syntax": 1})
    again = rows_of(output)
    bad = again.pop(3)
    assert (bad["smiles"], bad["log_solubility_predicted"], bad["error"]) == ("C1CC", "", "syntax")
    first = rows_of(tmp_path / "run" / "predictions.csv")
    assert [row["smiles"] for row in again] == [row["smiles"] for row in first]
    spread = np.std([float(row["log_solubility"]) for row in first])
    np.testing.assert_allclose(
        [float(row["log_solubility_predicted"]) for row in again],
        [float(row["log_solubility_predicted"]) for row in first],
        rtol=0,
        atol=1e-6 * spread,  # batches of other molecules: float32 sums in another order
    )


def test_predicts_a_list_of_smiles_from_the_run_folder(configured: Configured, tmp_path: Path):
    finetune(configured(epochs=1))
    listed = tmp_path / "library.smi.gz"
    listed.write_bytes(gzip.compress(b"CCO ethanol\n\nc1ccccc1 benzene\nXx\n"))
    predict(
        PredictConfig(finetuned=str(tmp_path / "run"), table=str(listed), output=str(tmp_path / "out.csv"))
    )
    rows = rows_of(tmp_path / "out.csv")
    assert [(row["line"], row["smiles"], row["error"]) for row in rows] == [
        ("1", "CCO", ""), ("3", "c1ccccc1", ""), ("4", "Xx", "syntax")
    ]  # fmt: skip


def test_regression_beats_the_training_mean(configured: Configured):
    """ESOL, random frozen encoder, scaffold split: at least 20 % below the mean's error."""
    metrics = finetune(configured(table=str(DATA / "esol.csv"), epochs=10, hidden=64))
    assert metrics["test"]["rmse"] < 0.8 * metrics["baseline"]["rmse"]


def test_classification_beats_the_prevalence(configured: Configured, bbbp: Path):
    metrics = finetune(
        configured(
            table=str(bbbp), targets=["p_np"], task=Task.classification, split=SplitKind.random,
            fractions=[0.5, 0.2, 0.3], epochs=15, learning_rate=5e-3,
        )
    )  # fmt: skip
    assert metrics["baseline"]["roc_auc"] == 0.5
    assert metrics["test"]["roc_auc"] > 0.6
    rows = rows_of(Path(configured().run) / "predictions.csv")
    assert all(0 <= float(row["p_np_predicted"]) <= 1 for row in rows)
    positive = [row["p_np"] == "1" for row in rows if row["split"] == "test"]
    assert metrics["baseline"]["pr_auc"] == pytest.approx(np.mean(positive))


def test_a_test_part_of_one_class_has_no_score_and_says_so(
    configured: Configured, bbbp: Path, tmp_path: Path
):
    rows = rows_of(bbbp)
    positive = [n for n, row in enumerate(rows) if row["p_np"] == "1"]
    rest = [n for n in range(len(rows)) if n not in positive[:5]]
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": rest[::2], "valid": rest[1::2], "test": positive[:5]}))
    config = configured(
        table=str(bbbp),
        targets=["p_np"],
        task=Task.classification,
        split=SplitKind.file,
        split_file=str(split),
    )
    metrics = finetune(config)
    assert metrics["test"]["roc_auc"] is None
    assert metrics["test"]["undefined"] == {"p_np": "one class only"}
    assert "p_np: one class only in the test part" in summary(config, metrics)


def test_molecules_in_train_and_test_are_counted(configured: Configured, tmp_path: Path):
    rows = rows_of(Path(configured().table))
    table = write_rows(tmp_path / "twice.csv", rows + rows)
    split = tmp_path / "split.json"
    split.write_text(
        json.dumps({"train": [*range(150)], "valid": [*range(150, 160)], "test": [160, 161, 319]})
    )
    metrics = finetune(configured(table=str(table), split=SplitKind.file, split_file=str(split), epochs=1))
    assert metrics["split"]["test_seen_in_train"] == 2


def test_a_finished_run_stays_unless_told(configured: Configured):
    finetune(configured(epochs=1))
    run = Path(configured().run)
    (run / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"finished run.*overwrite=true"):
        finetune(configured())
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="has no view"):  # a mistake costs nothing, even with overwrite
        finetune(configured(overwrite=True, views=["locl"]))
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    finetune(configured(overwrite=True, epochs=2))
    assert (run / "notes.txt").read_text() == "mine"
    assert len((run / "history.jsonl").read_text().splitlines()) == 2


def test_a_run_that_was_cut_short_starts_again(configured: Configured):
    finetune(configured(epochs=1))
    (Path(configured().run) / "metrics.json").unlink()  # the last thing that a run writes
    assert finetune(configured(epochs=1))["members"] == [{"seed": 0, "epochs": 1, "best_epoch": 1}]


def test_divergence_is_the_users_to_mend(configured: Configured):
    with pytest.raises(UserError, match=r"training loss became .*smaller learning_rate"):
        finetune(configured(learning_rate=1e30, epochs=5))
