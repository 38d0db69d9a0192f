"""Real processes: the loss is one process's loss, and so is every averaged gradient."""

import pytest
import torch

from tests.distributed import run_ranks
from tests.ntxent import ranks


def assert_same(outcome, expected):
    """Loss and gradients, by name, to 1e-12."""
    assert outcome.keys() == expected.keys()
    torch.testing.assert_close(outcome, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_agree_with_one_process(world, tmp_path):
    """Averaged over ranks: the whole batch's loss, and its gradient for weights and temperature."""
    expected = ranks.step(*ranks.molecules())
    for outcome in run_ranks(ranks.step_on_my_share, world, tmp_path):
        assert_same(outcome, expected)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two ranks, started once: their uneven shares, one molecule each, and the reference's answer."""
    work = (ranks.step_alone_on_uneven_share, ranks.one_molecule_each, ranks.ask_for_the_reference)
    return list(zip(*run_ranks(ranks.all_of, 2, tmp_path_factory.mktemp("pair"), *work), strict=True))


def test_own_negatives_need_nobody(pair):
    """`this_rank` with different n on every rank: no collective that could mismatch, and local losses."""
    for rank, outcome in enumerate(pair[0]):
        assert_same(outcome, ranks.step(*(view[: rank + 2] for view in ranks.molecules())))


def test_one_molecule_a_rank_is_enough(pair):
    """Alone it is refused; here the other rank's molecule is its negative."""
    one, other = pair[1]
    expected = ranks.step(*(view[:2] for view in ranks.molecules()))
    assert_same({name: (one[name] + other[name]) / 2 for name in expected}, expected)


def test_the_reference_refuses_other_ranks(pair):
    """It would silently leave out their negatives."""
    assert all("one process" in answer for answer in pair[2])


def test_a_group_keeps_to_itself(tmp_path):
    """Ranks 1 and 2 are 0 and 1 within their group; rank 0 is no member."""
    outsider, *outcomes = run_ranks(ranks.step_without_the_first, 3, tmp_path)
    expected = ranks.step(*(view[4:12] for view in ranks.molecules()))
    for outcome in outcomes:
        assert_same(outcome, expected)
    assert "not a member" in outsider


def test_a_failing_rank_is_heard(tmp_path):
    """The helper itself: the error arrives with its rank's traceback, and nobody is left waiting."""
    with pytest.raises(Exception, match=r"(?s)fail_on_the_last.*this rank has had enough"):
        run_ranks(ranks.fail_on_the_last, 2, tmp_path)
