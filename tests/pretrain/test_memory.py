"""Memory that runs out: the step is done again in smaller chunks, with the same gradient."""

import itertools
import json

import pytest

from tests.distributed import run_ranks
from tests.pretrain import ranks, step_ranks

PLACES = ("forward", "backward")
ALONE = list(itertools.product(range(4), (0, 7), PLACES))
TOGETHER = [
    *itertools.product((0, 1), (0, 4), PLACES),
    (2, 0, "forward"),
    (2, 4, "forward"),
    (2, 4, "backward"),
]
FEW = [(0, 0, "forward"), (1, 4, "backward"), (2, 4, "backward")]


@pytest.mark.parametrize(
    ("world", "cases"),
    [
        (2, FEW),
        pytest.param(1, ALONE, marks=pytest.mark.slow),
        pytest.param(2, TOGETHER, marks=pytest.mark.slow),
    ],
    ids=["some", "alone", "two ranks"],
)
def test_the_gradient_is_that_of_a_step_that_had_the_memory(world, cases, others, tmp_path):
    """It runs out twice on one rank, in the middle of an encoder; float64, no dropout, to rounding."""
    for of_rank in run_ranks(step_ranks.repeated, world, tmp_path, others.slice(0, 14), cases):
        assert list(of_rank) == cases
        for (stage, chunk, where), (expected, found, left) in of_rank.items():
            case = f"ZeRO-{stage} chunk={chunk} {where}"
            share = 14 // world
            half = -(-(chunk or share) // 2)
            assert left == -(-half // 2), case
            assert len(expected) == len(found) > 0
            whole = sum(gradient.norm() ** 2 for gradient in expected) ** 0.5
            assert whole > 0.01
            for mine, theirs in zip(found, expected, strict=True):
                assert (mine - theirs).norm() <= 1e-12 * max(theirs.norm(), 1e-3 * whole), case


@pytest.mark.parametrize(
    ("case", "advised"),
    [((2, 0, "backward"), 4), pytest.param((3, 4, "backward"), 2, marks=pytest.mark.slow)],
)
def test_where_it_cannot_be_done_again_the_user_is_told(case, advised, others, tmp_path):
    with pytest.raises(RuntimeError, match=rf"train\.zero_stage={case[0]}.*train\.chunk={advised}\."):
        run_ranks(step_ranks.repeated, 2, tmp_path, others.slice(0, 14), [case])


def test_a_small_device_holds_the_run_in_chunks(shards_folder, tmp_path):
    """Room for 5 of 16 molecules: the chunk in effect is kept with the checkpoint, config.yaml says what was asked."""
    options = ranks.config(str(shards_folder), str(tmp_path / "run"), steps=2, save_every=2)
    ((found, refusals),) = run_ranks(step_ranks.small_device, 1, tmp_path, options, 5)
    assert refusals == 2  # of 16 and of 8
    assert found["steps"] == [1, 2]
    state = json.loads((tmp_path / "run/checkpoints/step-2/state.json").read_text())["state"]
    assert state["memory"] == {"chunk": 4, "asked": 0}
    options.train.steps = 3
    ((found, refusals),) = run_ranks(step_ranks.small_device, 1, tmp_path, options, 5)
    assert refusals == 0
    assert found["steps"] == [1, 2, 3]


def test_a_device_without_room_for_one_molecule(shards_folder, tmp_path):
    options = ranks.config(str(shards_folder), str(tmp_path / "run"), steps=2)
    with pytest.raises(RuntimeError, match="no memory for a single molecule at a time"):
        run_ranks(step_ranks.small_device, 1, tmp_path, options, 0)
