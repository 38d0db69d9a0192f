"""Numbers that go wrong: no weight sees them, on any ZeRO stage and dtype; they are counted, named, and end the run."""

import csv
import itertools
import json
import math

import pytest
import torch

from pretrain import checkpoint
from pretrain.config import Precision
from pretrain.guard import FLOOR, WARM_UP, WINDOW, Guard
from sharding.read import Shards
from tests.distributed import run_ranks
from tests.pretrain import ranks, step_ranks

CPU = torch.device("cpu")
STAGES, PRECISIONS = range(4), (Precision.float32, Precision.bfloat16)
ALL = list(itertools.product(STAGES, PRECISIONS))
FEW = [(0, Precision.float32), (0, Precision.bfloat16), (2, Precision.bfloat16), (3, Precision.float32)]
REASONS = [
    "the loss is not finite",
    "the loss is not finite",
    "the loss is a spike",
    "the gradient is not finite",
]


@pytest.mark.parametrize(
    ("world", "cases", "chunks"),
    [(2, FEW, [3]), *(pytest.param(world, ALL, [0, 3], marks=pytest.mark.slow) for world in (1, 2))],
    ids=["some", "alone", "two ranks"],
)
def test_a_bad_step_changes_no_bit(world, cases, chunks, others, tmp_path):
    """NaN, Inf, a spike, a gradient that is not finite: masters, moments and weights stay, with Adam's count."""
    for of_rank in run_ranks(step_ranks.bad_steps, world, tmp_path, others.slice(0, 14), cases, chunks):
        assert len(of_rank) == len(cases) * len(chunks)
        for case, report in of_rank.items():
            assert report["a good step changes"], case
            total, towers = report["norms"]
            assert towers == pytest.approx(total, rel=1e-4), case
            assert report["unchanged"] == dict.fromkeys(("nan", "inf", "spike", "gradient"), True), case
            assert report["reasons"] == REASONS, case
            assert report["in a row"] == 4, case
            assert report["the next one changes"], case
            assert report["it is fine"], case
            assert report["finite"], case


def test_a_run_that_goes_wrong_ends_and_says_where(shards_folder, tmp_path):
    """From step 4 on one of two ranks has NaN: three bad steps are enough, and the checkpoint before stays."""
    options = ranks.config(
        str(shards_folder), str(tmp_path / "run"), steps=50, save_every=3, stop_after_bad=3, log_every=2
    )
    endings = run_ranks(step_ranks.run_that_goes_wrong, 2, tmp_path, options, 4)
    run = tmp_path / "run"
    for message, code in endings:
        assert code == 3
        assert "3 steps in a row changed nothing" in message
        assert str(run) in message
    assert checkpoint.steps(run / "checkpoints") == [3]
    lines = [json.loads(line) for line in (run / "skipped.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 5, 6]
    assert {line["reason"] for line in lines} == {REASONS[0]}
    assert lines[0]["loss"] is None
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["skipped"]) for line in metrics] == [(2, 0), (4, 1)]
    assert math.isfinite(metrics[-1]["loss"])  # the mean of the fine step 3

    shards = Shards(shards_folder)
    places = {(ref.file, ref.offset): ref for ref in shards.blocks}
    for line in lines:
        with (run / line["molecules"]).open() as stream:
            rows = list(csv.DictReader(stream))
        for rank in range(2):
            seen = torch.load(tmp_path / f"seen-{rank}.pt")[line["step"] - 1]
            assert [int(row["id"]) for row in rows if int(row["rank"]) == rank] == seen.tolist()
        row = rows[-1]
        ref = places[row["shard"], int(row["block"])]
        stored = shards.members(ref)["smiles.txt.gz"]
        assert shards.smiles(ref)[shards.read(ref).ids.tolist().index(int(row["id"]))] == row["smiles"]
        assert stored


def judged(guard, losses, first=1):
    """The steps that a guard on one rank calls bad."""
    for step, loss in enumerate(losses, first):
        verdict = guard.judge(torch.tensor(loss))
        guard.note(step, verdict, refused=bool(verdict.factor.isnan()), stray=torch.zeros(()))
    return guard.settle()


def noisy(count, level=2.0, deviation=0.05):
    generator = torch.Generator().manual_seed(0)
    return (level + deviation * torch.randn(count, generator=generator)).tolist()


def test_a_spike_is_seen_and_named():
    guard = Guard(10.0, CPU, 1)
    (bad,) = judged(guard, [*noisy(200), 4.0, *noisy(10)])
    assert (bad.step, bad.reason, bad.loss) == (201, "the loss is a spike", 4.0)
    assert bad.mean == pytest.approx(2.0, abs=0.05)
    assert bad.deviation == pytest.approx(0.05, abs=0.02)
    assert guard.skipped == 1
    assert guard.in_a_row == 0


def test_bad_steps_teach_nothing():
    """So a loss that went up for good stays a spike, until the run ends for it."""
    guard = Guard(10.0, CPU, 1)
    assert len(judged(guard, [*noisy(200), math.nan, math.inf, *[4.0] * 30])) == 32
    assert guard.in_a_row == 32


@pytest.mark.parametrize(
    "losses",
    [
        [8 * math.exp(-step / 20) + 0.5 for step in range(400)],  # a steep descent
        [7.0] * 60 + [2.0] * 60,  # a cliff
        [3 + step / 200 for step in range(600)],  # a slow rise
        [2.0] * 200 + [2.0 * (1 + 9 * FLOOR)],  # a plateau without noise, and a wiggle
        noisy(2000, deviation=0.3),
        [2.0] * (WARM_UP - 1) + [50.0],  # while it learns
    ],
)
def test_no_false_alarm(losses):
    assert judged(Guard(10.0, CPU, 1), losses) == []


def test_spikes_may_be_wanted():
    assert judged(Guard(0.0, CPU, 1), [*noisy(200), 400.0]) == []
    assert len(judged(Guard(0.0, CPU, 1), [math.inf])) == 1


def test_mean_and_variance_are_those_of_the_definition():
    losses = noisy(WINDOW)
    guard = Guard(10.0, CPU, 1)
    judged(guard, losses)
    count, mean, variance = guard.state()["memory"]
    expected = torch.tensor(losses).double()  # up to WINDOW steps, all weigh the same
    assert count == WINDOW
    assert mean == pytest.approx(expected.mean().item(), rel=1e-12)
    assert variance == pytest.approx(expected.var(correction=0).item(), rel=1e-9)


def test_a_resumed_guard_judges_as_one_that_never_stopped():
    losses = [*noisy(300), 2.7, *noisy(50, deviation=0.2), 4.0]
    whole, first, second = (Guard(10.0, CPU, 1) for _ in range(3))
    expected = judged(whole, losses)
    before = judged(first, losses[:310])
    second.restore(json.loads(json.dumps(first.state())))
    assert before + judged(second, losses[310:], 311) == expected
    assert len(expected) == 2
    assert second.state() == whole.state()
