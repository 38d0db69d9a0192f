"""An evaluation: every cell on one split, a table that follows from the predictions, and what pretraining has met."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score

from finetune.evaluation import baselines
from finetune.evaluation.config import Baseline, EvaluateConfig
from finetune.evaluation.grid import cells, complete, run_all
from finetune.evaluation.leakage import Workers, met, overlap
from finetune.evaluation.table import make_table, means_over_sets
from launch.entry import compose_config
from launch.reporting.evaluation import summary, write_report
from sharding.config import Executor
from sharding.errors import UserError

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 rows of BBBP and 120 of ESOL under their public names."""
    folder = tmp_path_factory.mktemp("sets")
    bbbp = (DATA / "bbbp.csv").read_text().splitlines()
    (folder / "BBBP.csv").write_text("\n".join([bbbp[0], *bbbp[1:100], *bbbp[1800:1861]]) + "\n")
    esol = (DATA / "esol.csv").read_text().splitlines()
    header = "smiles,measured log solubility in mols per litre"
    (folder / "delaney-processed.csv").write_text("\n".join([header, *esol[1:121]]) + "\n")
    return folder


@pytest.fixture(scope="module")
def few_trees():
    """A forest of 40, which is as good for these tests as one of 500."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "TREES", 40)
        yield


@pytest.fixture(scope="module")
def evaluated(sets: Path, graph_encoder: Path, few_trees, tmp_path_factory: pytest.TempPathFactory):
    """Two models and the forest on both sets, two seeds each."""
    config = EvaluateConfig(
        encoder=str(graph_encoder),
        data=str(sets),
        output=str(tmp_path_factory.mktemp("evaluation")),
        datasets=["bbbp", "esol"],
        models={"frozen": {}, "one_view": {"views": ["local"], "pretrained": "none"}},
        common={"epochs": 1},
        seeds=2,
    )
    grid = cells(config)
    run_all(config, grid)
    return config, grid


def answers(folder: Path, target: str) -> tuple[list[float], list[float]]:
    with (folder / "predictions.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    return [float(row[target]) for row in rows], [float(row[f"{target}_predicted"]) for row in rows]


def test_the_table_follows_from_the_predictions(evaluated):
    config, grid = evaluated
    content = make_table(config, grid, None)
    assert json.loads((Path(config.output) / "table.json").read_text()) == json.loads(json.dumps(content))
    rows = {(row["dataset"], row["model"]): row for row in content["rows"]}
    assert list(rows) == [(s, m) for s in ("bbbp", "esol") for m in ("frozen", "one_view", "ecfp_forest")]
    for dataset in ("bbbp", "esol"):
        digests = {
            tuple(rows[dataset, model]["split_sha256"]) for model in ("frozen", "one_view", "ecfp_forest")
        }
        assert len(digests) == 1
    folder = Path(config.output) / "runs" / "bbbp" / "ecfp_forest"
    by_hand = [roc_auc_score(*answers(folder / f"seed{seed}", "p_np")) for seed in (0, 1)]
    row = rows["bbbp", "ecfp_forest"]
    assert row["scores"] == pytest.approx(by_hand)
    assert row["mean"] == pytest.approx(np.mean(by_hand))
    assert row["low"] <= row["mean"] <= row["high"]
    truth, predicted = answers(Path(config.output) / "runs/esol/frozen/seed1", grid[-1].options.targets[0])
    rmse = np.sqrt(np.mean((np.array(truth) - predicted) ** 2))
    assert rows["esol", "frozen"]["scores"][1] == pytest.approx(rmse)
    difference = rows["esol", "ecfp_forest"]["difference"]
    assert difference["value"] == pytest.approx(
        rows["esol", "ecfp_forest"]["mean"] - rows["esol", "frozen"]["mean"]
    )
    assert "difference" not in rows["esol", "frozen"]
    with (Path(config.output) / "table.csv").open() as stream:
        flat = list(csv.DictReader(stream))
    assert [row["model"] for row in flat] == ["frozen", "one_view", "ecfp_forest"] * 2
    assert float(flat[2]["mean"]) == pytest.approx(row["mean"], rel=1e-6)


def test_what_is_complete_is_not_run_again(evaluated):
    config, grid = evaluated
    stamps = [cell.metrics.stat().st_mtime_ns for cell in grid]
    run_all(config, cells(config))
    assert [cell.metrics.stat().st_mtime_ns for cell in grid] == stamps
    other = replace(config, common={"epochs": 2})
    with pytest.raises(UserError, match="holds a run of other options"):
        run_all(other, cells(other))
    assert not complete(cells(replace(config, output=config.output + "-new"))[0])


def row_of(dataset: str, model: str, metric: str, mean: float | None) -> dict:
    return {"dataset": dataset, "model": model, "metric": metric, "mean": mean}


def test_means_are_over_sets_that_are_scored_alike():
    rows = [
        row_of("bbbp", "a", "roc_auc", 0.7),
        row_of("bbbp", "b", "roc_auc", 0.9),
        row_of("bace", "a", "roc_auc", 0.8),
        row_of("bace", "b", "roc_auc", None),
        row_of("esol", "a", "rmse", 1.0),
        row_of("freesolv", "a", "rmse", 2.0),
        row_of("muv", "a", "pr_auc", 0.1),
    ]
    assert means_over_sets(rows) == {"roc_auc": {"a": pytest.approx(0.75)}}


def test_another_encoder_repeats_what_reads_its_weights(evaluated, graph_encoder, tmp_path):
    config, _ = evaluated
    other = tmp_path / "encoder"
    shutil.copytree(graph_encoder, other)
    weights = load_file(other / "model.safetensors")
    save_file({name: weight + 1 for name, weight in weights.items()}, other / "model.safetensors")
    for cell in cells(replace(config, encoder=str(other))):
        if cell.model == "frozen":
            with pytest.raises(UserError, match="holds a run of other options or of another encoder"):
                complete(cell)
        else:
            assert complete(cell)


def test_the_page_has_every_score(evaluated, tmp_path):
    config, grid = evaluated
    content = make_table(config, grid, None)
    page = write_report(content, tmp_path).read_text()
    for row in content["rows"]:
        assert f"{row['mean']:.3f}" in page
        assert f"{row['mean']:.3f}" in summary(content)
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2


def test_scores_stand_without_what_pretraining_has_met(evaluated, tmp_path):
    """Shards of half the test molecules: exactly those are left out."""
    from sharding.config import ShardConfig
    from sharding.job import shard

    config, grid = evaluated
    with (grid[0].folder / "predictions.csv").open() as stream:
        test = [row["smiles"] for row in csv.DictReader(stream) if row["split"] == "test"]
    known = test[::2]
    (tmp_path / "in.smi").write_text("\n".join(known) + "\n")
    shard(ShardConfig(input=str(tmp_path / "in.smi"), output=str(tmp_path / "shards")))
    seen = met(tmp_path / "shards", tmp_path, Workers(Executor.serial))
    found = overlap(test, seen)
    assert found.molecule[::2].all()
    fresh = sum(1 for flag in found.molecule if not flag)
    assert fresh > 0
    content = make_table(config, grid, seen)
    row = content["rows"][0]
    assert row["without"]["molecule"]["removed"] == len(test) - fresh
    assert row["without"]["molecule"]["of"] == len(test)
    assert row["without"]["scaffold"]["removed"] >= 0
    again = met(tmp_path / "shards", tmp_path, Workers(Executor.serial))
    assert (again.molecules == seen.molecules).all()


def test_stereo_and_charge_are_no_other_molecule_and_a_chain_has_no_scaffold(tmp_path):
    from sharding.config import ShardConfig
    from sharding.job import shard

    (tmp_path / "in.smi").write_text("C[C@H](N)C(=O)O\nCCc1ccccc1\nCCCC\n")
    shard(ShardConfig(input=str(tmp_path / "in.smi"), output=str(tmp_path / "shards")))
    seen = met(tmp_path / "shards", tmp_path, Workers(Executor.serial))
    found = overlap(["C[C@@H](N)C(=O)O", "CCCc1ccccc1", "CCCCC"], seen)
    assert found.molecule.tolist() == [True, False, False]
    assert found.scaffold.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"models": {"mine": {"frezee": True}}}, "models.mine: 'frezee' is no option"),
        ({"models": {"mine": {"epochs": "many"}}}, "models.mine: "),
        ({"datasets": ["bbpb"]}, "Did you mean 'bbbp'?"),
        ({"datasets": ["hiv"]}, "should hold one file of hiv, and has none"),
        ({"baselines": [Baseline.chemprop]}, "pip install chemprop"),
    ],
)
def test_a_mistake_is_found_before_anything_runs(evaluated, changed, expected):
    config, _ = evaluated
    with pytest.raises(UserError) as refusal:
        cells(replace(config, **changed))
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_model_is_no_baseline(evaluated):
    with pytest.raises(UserError, match="has the name of a baseline"):
        replace(evaluated[0], models={"chemprop": {}})


def test_models_are_added_one_by_one_or_together():
    given = ["encoder=a", "data=b", "output=c"]
    own = {"mine": {"freeze": False, "epochs": 3}}
    for told in (
        ["models={mine: {freeze: false, epochs: 3}}"],
        ["models.mine.freeze=false", "models.mine.epochs=3"],
    ):
        config = compose_config("evaluate", EvaluateConfig, [*given, *told])
        assert config.models == {"pretrained": {}, "scratch": {"pretrained": "none"}} | own
