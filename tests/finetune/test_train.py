"""The fit: what the scaler and the loss may see, what changes, and which epoch is kept."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from finetune.config import FinetuneConfig, Fusion, Pretrained, Task
from finetune.design import design
from finetune.job import finetune
from finetune.model import Member
from finetune.scaler import Scaler
from finetune.state import Memory
from finetune.train import class_weights, observed_loss
from finetune.weights import load_encoder
from pretrain.encoder import Encoder
from sharding.errors import UserError
from tests.finetune.conftest import rows_of, write_rows

Configured = Callable[..., FinetuneConfig]
NAN = np.nan
VIEWS = ("local", "global", "smiles", "text")


def _weights(run: str | Path) -> dict[str, torch.Tensor]:
    model = Path(run) / "model"
    encoder = load_file(model / "encoder" / "model.safetensors")
    return load_file(model / "head.safetensors") | {f"encoder.{name}": w for name, w in encoder.items()}


def _same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(weight, second[name]) for name, weight in first.items())


def _history(run: str | Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (Path(run) / "history.jsonl").read_text().splitlines()]


def test_scaler_by_hand():
    """Observed only: mean 2, deviation 1 (of 1 and 3); mean 7, all equal, so a shift."""
    labels = np.array([[1.0, 7.0], [3.0, NAN], [NAN, 7.0]])
    scaler = Scaler.fit(labels)
    np.testing.assert_array_equal(scaler.mean, [2, 7])
    np.testing.assert_array_equal(scaler.scale, [1, 1])
    np.testing.assert_array_equal(scaler.scaled(labels), [[-1, 0], [1, NAN], [NAN, 0]])
    np.testing.assert_array_equal(scaler.original(scaler.scaled(labels)), labels)


def test_loss_is_the_mean_over_observed_labels():
    outputs = torch.tensor([[1.0, 5.0], [2.0, 0.0]], requires_grad=True)
    labels = torch.tensor([[0.0, torch.nan], [4.0, 1.0]])
    loss = observed_loss(outputs, labels, Task.regression)
    loss.backward()
    assert loss.item() == pytest.approx((1 + 4 + 1) / 3)
    # no gradient where the label is missing
    torch.testing.assert_close(outputs.grad, torch.tensor([[2.0, 0.0], [-4.0, -2.0]]) / 3)
    classes = torch.tensor([[1.0, torch.nan], [0.0, 1.0]])
    likelihood = torch.tensor([1.0, -2.0, 0.0]).sigmoid()  # of class 1, 0 and 1
    loss = observed_loss(outputs.detach(), classes, Task.classification)
    torch.testing.assert_close(loss, -likelihood.log().mean())


def test_class_weights_by_hand():
    """Two negatives to one positive; one class only; nothing observed. Each class then weighs the same."""
    labels = torch.tensor([[1.0, 1.0, NAN], [0.0, 1.0, NAN], [0.0, NAN, NAN]])
    weights = class_weights(labels)
    assert weights.tolist() == [2, 1, 1]
    outputs = torch.zeros(3, 3, requires_grad=True)
    observed_loss(outputs, labels, Task.classification, weights).backward()
    assert outputs.grad is not None
    assert outputs.grad[:, 0].sum().item() == pytest.approx(0)  # at p = 1/2 the two classes pull alike
    unweighted = observed_loss(torch.zeros(3, 3), labels, Task.classification)
    assert unweighted.item() == pytest.approx(np.log(2))


def test_the_best_epochs_weights_come_back():
    layer = nn.ModuleDict({"one": nn.Linear(1, 1)})
    kept = Memory(layer, torch.optim.AdamW(layer.parameters()), torch.Generator())
    for epoch, score in enumerate([3.0, 5.0, 1.0, 5.0, 2.0], 1):  # of equals the first
        nn.init.constant_(layer["one"].weight, epoch)
        kept.see(epoch, score)
    kept.restore_best()
    assert (kept.progress.epoch, kept.progress.best_epoch) == (5, 2)
    assert layer["one"].weight.item() == 2


def test_patience_stops_and_the_best_epoch_answers(configured: Configured):
    """A learning rate that overshoots: validation gets worse, and the model is not the last one."""
    config = configured(epochs=40, patience=3, learning_rate=0.03)
    metrics = finetune(config)
    scores = [record["valid_rmse"] for record in _history(config.run)]
    (member,) = metrics["members"]
    assert member["best_epoch"] == int(np.argmin(scores)) + 1
    assert member["epochs"] == len(scores) == member["best_epoch"] + 3 < 40
    assert metrics["valid"]["rmse"] == pytest.approx(min(scores), rel=1e-6)


def _with_labels_of(part: str, config: FinetuneConfig, table: Path) -> Path:
    """The same table with other numbers as this part's labels."""
    rows = rows_of(Path(config.table))
    random = np.random.default_rng(0)
    for row in json.loads((Path(config.run) / "split.json").read_text())[part]:
        rows[row]["log_solubility"] = f"{random.normal(100, 50):.3f}"
    return write_rows(table, rows)


@pytest.mark.parametrize("freeze", [True, False])
def test_labels_of_the_test_part_change_nothing(configured: Configured, tmp_path: Path, freeze: bool):
    config = configured(freeze=freeze, epochs=2)
    honest = finetune(config)
    table = _with_labels_of("test", config, tmp_path / "b.csv")
    garbage = configured(freeze=freeze, epochs=2, run=str(tmp_path / "b"), table=str(table))
    other = finetune(garbage)
    assert _same(_weights(config.run), _weights(garbage.run))
    assert _history(config.run) == _history(garbage.run)
    assert other["members"] == honest["members"]
    assert other["test"]["rmse"] > 20 > honest["test"]["rmse"]


def test_labels_of_the_validation_part_choose_the_epoch_and_nothing_else(
    configured: Configured, tmp_path: Path
):
    config = configured(epochs=2)
    finetune(config)
    garbage = configured(
        epochs=2, run=str(tmp_path / "b"), table=str(_with_labels_of("valid", config, tmp_path / "b.csv"))
    )
    finetune(garbage)
    for name in ("scaler.mean", "scaler.scale"):
        assert torch.equal(_weights(config.run)[name], _weights(garbage.run)[name])
    assert [record["train_loss"] for record in _history(config.run)] == [
        record["train_loss"] for record in _history(garbage.run)
    ]
    labels = [float(row["log_solubility"]) for row in rows_of(Path(config.table))]
    train = json.loads((Path(config.run) / "split.json").read_text())["train"]
    assert _weights(config.run)["scaler.mean"].item() == pytest.approx(
        np.mean([labels[row] for row in train])
    )
    assert _weights(config.run)["scaler.scale"].item() == pytest.approx(
        np.std([labels[row] for row in train])
    )


def test_a_missing_label_is_as_good_as_no_row(configured: Configured, tmp_path: Path):
    """Two targets, one of which is missing in half of the rows: what stands in the other does not matter."""
    rows = rows_of(Path(configured().table))
    for place, row in enumerate(rows):
        row["second"] = row["log_solubility"] if place % 2 else ""
    table = write_rows(tmp_path / "two.csv", rows)
    metrics = finetune(configured(table=str(table), targets=["log_solubility", "second"]))
    first, second = (metrics["test"]["targets"][name] for name in ("log_solubility", "second"))
    assert 0 < second["labels"] < first["labels"]
    assert metrics["test"]["rmse"] == pytest.approx((first["rmse"] + second["rmse"]) / 2)


@pytest.mark.parametrize("freeze", [True, False])
def test_the_same_seed_gives_the_same_weights(configured: Configured, tmp_path: Path, freeze: bool):
    runs = [configured(freeze=freeze, run=str(tmp_path / name), epochs=1) for name in "ab"]
    for config in runs:
        finetune(config)
    assert _same(_weights(runs[0].run), _weights(runs[1].run))
    other = configured(freeze=freeze, run=str(tmp_path / "c"), epochs=1, seed=1)
    finetune(other)
    assert not _same(_weights(runs[0].run), _weights(other.run))


def test_frozen_is_frozen_and_unfrozen_learns(configured: Configured, tmp_path: Path, graph_encoder: Path):
    before = load_file(graph_encoder / "model.safetensors")

    def after(name: str, **options: object) -> dict[str, torch.Tensor]:
        finetune(configured(run=str(tmp_path / name), epochs=1, **options))
        return load_file(tmp_path / name / "model" / "encoder" / "model.safetensors")

    assert _same(before, after("frozen", freeze=True))
    trained = after("trained", freeze=False, views=["local"])
    changed = {name.split(".")[1] for name in before if not torch.equal(before[name], trained[name])}
    assert changed == {"local"}  # not the view that is not read, not the projection heads
    last = after("last", freeze=False, train_layers=1)
    changed = {name.removeprefix("encoders.") for name in before if not torch.equal(before[name], last[name])}
    assert {name.split(".", 2)[1] for name in changed if name.startswith("local")} <= {
        "atom_convs", "atom_grus", "mol_conv", "mol_gru"
    }  # fmt: skip
    assert {name[:15] for name in changed if name.startswith("global")} == {"global.layers.1", "global.norm.wei",
        "global.norm.bia"}  # fmt: skip


def test_what_memory_does_not_hold_is_encoded_anew(
    configured: Configured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    options = {"epochs": 1, "fusion": Fusion.cross_attention, "width": 8}
    kept = finetune(configured(**options))
    made = finetune(configured(**options, run=str(tmp_path / "b"), cache_gb=0.0))
    assert "more than cache_gb=0: every epoch encodes anew" in capsys.readouterr().err
    assert made["test"]["rmse"] == pytest.approx(kept["test"]["rmse"], rel=1e-4)
    assert _history(tmp_path / "b")[0] == pytest.approx(_history(tmp_path / "run")[0], rel=1e-4)


@pytest.mark.parametrize(
    ("pretrained", "kept"),
    [("none", set()), ("graph", {"local", "global"}), ("text", {"smiles", "text"}), ("both", set(VIEWS))],
)
def test_pretrained_says_which_streams_take_the_weights(four_views: Path, pretrained: str, kept: set[str]):
    """The others are those of the seed, whatever the rest; all heads and tokenizers stay."""
    given, random = Encoder.load(four_views), load_encoder(four_views, Pretrained.none, seed=3)
    made = load_encoder(four_views, Pretrained(pretrained), seed=3)
    for view in VIEWS:
        expected = (given if view in kept else random).model.encoders[view].state_dict()
        found = made.model.encoders[view].state_dict()
        assert all(torch.equal(weight, expected[name]) for name, weight in found.items())
    one, other = (
        Member(each, design(FinetuneConfig(encoder="-", table="-", run="-", task=Task.regression, targets=["y"]),
               each.model.widths), Scaler.identity(1), seed=3).system.state_dict()
        for each in (given, made)
    )  # fmt: skip
    assert _same(one, other)  # the system does not notice which weights the encoder took
    assert not torch.equal(*(next(e.model.encoders["text"].parameters()) for e in (given, random)))


def test_a_stream_that_is_not_there_is_refused(graph_encoder: Path):
    with pytest.raises(UserError, match=r"pretrained=text: .* has no text stream"):
        load_encoder(graph_encoder, Pretrained.text, seed=0)
