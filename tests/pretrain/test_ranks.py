"""Several processes are one: the same loss, the same gradients, the same training, on every ZeRO stage."""

import pytest
import torch
from torch.testing import assert_close

from tests.distributed import run_ranks
from tests.pretrain import ranks


@pytest.fixture(scope="module")
def alone(molecules, tmp_path_factory):
    (result,) = run_ranks(
        ranks.averaged_gradients, 1, tmp_path_factory.mktemp("alone"), molecules.slice(0, 16)
    )
    return result


@pytest.mark.parametrize("world", [2, 4])
def test_loss_and_averaged_gradients_are_the_single_process(world, molecules, alone, tmp_path):
    """The real model, float64, temperature included."""
    loss, gradients = alone
    assert gradients["log_scale"].abs() > 1e-4
    for found, theirs in run_ranks(ranks.averaged_gradients, world, tmp_path, molecules.slice(0, 16)):
        assert_close(found, loss, rtol=1e-10, atol=0)
        assert theirs.keys() == gradients.keys()
        for name, gradient in gradients.items():
            assert_close(theirs[name], gradient, rtol=1e-7, atol=1e-11, msg=name)


@pytest.fixture(scope="module")
def single(shards_folder, tmp_path_factory):
    """What one process hands to the optimizer."""
    folder = tmp_path_factory.mktemp("single")
    return run_ranks(
        ranks.gradients_of_engine, 1, folder, ranks.config(str(shards_folder), "", zero_stage=0)
    )[0]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_deepspeed_averages_the_same_gradients(stage, single, shards_folder, tmp_path):
    """What ZeRO hands to the optimizer on two ranks is what one process computes: nothing halved, nothing lost."""
    options = ranks.config(str(shards_folder), "", zero_stage=stage)
    for found in run_ranks(ranks.gradients_of_engine, 2, tmp_path, options):
        assert found.keys() == single.keys()
        for name, gradient in single.items():
            assert_close(found[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_run_on_two_ranks_follows_the_run_on_one(stage, shards_folder, tmp_path):
    """The same molecules at each step and the same losses, while rounding differs."""
    one = run_ranks(ranks.train, 1, tmp_path, ranks.config(str(shards_folder), str(tmp_path / "a"), steps=4))[
        0
    ]
    options = ranks.config(str(shards_folder), str(tmp_path / "b"), steps=4, zero_stage=stage)
    two = run_ranks(ranks.train, 2, tmp_path, options)[0]
    assert_close(torch.tensor(two["losses"]), torch.tensor(one["losses"]), rtol=2e-3, atol=1e-3)
