"""Real processes: the loss is one process's loss, and so is every averaged gradient."""

import pytest
import torch

from tests.distributed import run_ranks
from tests.ntxent import ranks


def assert_same(outcome, expected):
    """Loss and gradients, by name, to 1e-12."""
    assert outcome.keys() == expected.keys()
    torch.testing.assert_close(outcome, expected, rtol=1e-12, atol=1e-14)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two ranks, started once for four tests."""
    work = (
        ranks.steps_on_my_share,
        ranks.step_alone_on_uneven_share,
        ranks.one_molecule_each,
        ranks.rounded_on_my_share,
    )
    return list(zip(*run_ranks(ranks.all_of, 2, tmp_path_factory.mktemp("pair"), *work), strict=True))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_agree_with_one_process(world, tmp_path, request):
    """Averaged over ranks: the whole batch's loss, and its gradient for weights and temperature."""
    if world == 2:
        everyone = request.getfixturevalue("pair")[0]
    else:
        everyone = run_ranks(ranks.steps_on_my_share, world, tmp_path)
    expected = [ranks.step(*ranks.molecules(), **case) for case in ranks.CASES]
    for outcomes in everyone:
        for outcome, wanted in zip(outcomes, expected, strict=True):
            assert_same(outcome, wanted)


def test_the_ids_do_something():
    """Otherwise the cases with ids would prove nothing."""
    plain, masked = (ranks.step(*ranks.molecules(), ids=ids)["loss"] for ids in (None, ranks.IDS))
    assert masked < plain - 1e-3


def test_own_negatives_need_nobody(pair):
    """`this_rank` with different n on every rank: no collective that could mismatch, and local losses."""
    for rank, outcome in enumerate(pair[1]):
        assert_same(outcome, ranks.step(*(view[: rank + 2] for view in ranks.molecules())))


def test_one_molecule_a_rank_is_enough(pair):
    """Alone it is refused; here the other rank's molecule is its negative."""
    one, other = pair[2]
    expected = ranks.step(*(view[:2] for view in ranks.molecules()))
    assert_same({name: (one[name] + other[name]) / 2 for name in expected}, expected)


def test_rounded_rows_are_gathered_as_they_are(pair):
    """In CLIP's form with ids, by the kernel's operators: one process's loss to single precision."""
    expected = ranks.rounded_on_my_share(0, 1)
    for outcome in pair[3]:
        torch.testing.assert_close(outcome, expected, rtol=1e-5, atol=1e-7)


def test_a_group_keeps_to_itself(tmp_path):
    """Ranks 1 and 2 are 0 and 1 within their group, and err there; rank 0 is no member."""
    (_, outsider), *members = run_ranks(ranks.step_without_the_first, 3, tmp_path)
    expected = ranks.step(*(view[4:12] for view in ranks.molecules()))
    for outcome, told in members:
        assert_same(outcome, expected)
        assert "rank 1: form is" in told
    assert "not a member" in outsider


def test_a_failing_rank_is_heard(tmp_path):
    """The helper itself: the error arrives with its rank's traceback, and nobody is left waiting."""
    with pytest.raises(Exception, match=r"(?s)fail_on_the_last.*this rank has had enough"):
        run_ranks(ranks.fail_on_the_last, 2, tmp_path)
