"""A run: what it leaves, that resuming is never having stopped, and that its encoder is its encoder."""

import json
import shutil

import pytest
from omegaconf import OmegaConf

from pretrain import checkpoint
from sharding.errors import UserError
from tests.distributed import run_ranks
from tests.pretrain import ranks


@pytest.fixture(scope="module")
def straight(shards_folder, tmp_path_factory):
    """Six steps without a stop; dropout on, so that randomness has to be resumed too."""
    folder = tmp_path_factory.mktemp("straight")
    options = ranks.config(str(shards_folder), str(folder / "run"), {"dropout": 0.1}, steps=6, save_every=2)
    return folder / "run", options, run_ranks(ranks.train, 1, folder, options)[0]


def test_a_run_leaves_its_contract(straight):
    run, _, _ = straight
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "graph_loss", "text_loss", "molecules_per_s", "data_wait", "chance"} <= metrics[0].keys()
    for line in metrics:
        assert line["loss"] == pytest.approx((line["graph_loss"] + line["text_loss"]) / 2)
        assert 0 <= line["data_wait"] <= 1
    evaluations = [json.loads(line) for line in (run / "evaluation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in evaluations] == [0, 6]
    assert evaluations[-1]["chance"] == 1 / 32
    assert {"graph_recall_at_1", "text_recall_at_1"} <= evaluations[-1].keys()
    assert OmegaConf.load(run / "config.yaml").train.batch == 16
    assert list((run / "tensorboard").iterdir())
    assert checkpoint.steps(run / "checkpoints") == [2, 4, 6]
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["torch"]
    assert environment["shards"]


def test_resumed_is_never_stopped(straight, shards_folder, tmp_path):
    """Stopped after step 2 and again after 4: the same losses and, bit for bit, the same weights."""
    _, _, expected = straight
    run = str(tmp_path / "run")
    for steps in (2, 4, 6):
        # the schedule belongs to six steps, as it does for a run that is killed
        options = ranks.config(str(shards_folder), run, {"dropout": 0.1}, steps=6, save_every=2)
        found = run_ranks(ranks.train_until, 1, tmp_path, options, steps)[0]
    assert found["steps"] == expected["steps"]
    assert found["losses"] == expected["losses"]
    assert found["weights"] == expected["weights"]


@pytest.mark.parametrize("damage", ["truncated", "missing", "changed"])
def test_a_damaged_checkpoint_is_passed_over(straight, damage, tmp_path, capsys):
    run, _, _ = straight
    folder = shutil.copytree(run / "checkpoints", tmp_path / "checkpoints")
    file = next((folder / "step-6").glob("*.safetensors"))
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-100] if damage == "truncated" else content[:500] + b"!" + content[501:])
    assert checkpoint.newest(folder) == 4
    assert file.name in capsys.readouterr().err
    with pytest.raises(UserError, match=file.name):
        checkpoint.weights(folder / "step-6")


def test_an_unpublished_checkpoint_is_no_checkpoint(straight, tmp_path):
    """A save that was killed leaves tmp-<step>; it counts for nothing."""
    run, _, _ = straight
    folder = shutil.copytree(run / "checkpoints", tmp_path / "checkpoints")
    (folder / "step-6").rename(folder / "tmp-6")
    assert checkpoint.steps(folder) == [2, 4]


@pytest.mark.parametrize(("stage", "world"), [(0, 1), (2, 2), (3, 2)])
def test_the_exported_encoder_is_the_engines(stage, world, shards_folder, tmp_path):
    options = ranks.config(str(shards_folder), str(tmp_path / "run"), steps=2, zero_stage=stage)
    results = run_ranks(ranks.exported_and_engine, world, tmp_path, options, str(tmp_path / "encoder"))
    for differences in results:
        assert set(differences) == {"local", "global", "smiles", "text"}
        assert max(differences.values()) <= 1e-6
    card = (tmp_path / "encoder" / "README.md").read_text()
    assert "recall@1" in card
    assert "2 steps of 16" in card
    for view in ("smiles", "text"):
        assert (tmp_path / "encoder" / "huggingface" / view / "config.json").is_file()
