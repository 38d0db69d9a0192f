"""A refactor keeps the losses of a short run: see tests/pretrain/golden.py for how they are made and written."""

from tests.distributed import run_ranks
from tests.pretrain import golden


def test_losses_are_the_golden_ones(tmp_path):
    expected = [float.fromhex(loss) for loss in golden.golden()["losses"]]
    (found,) = run_ranks(golden.losses, 1, tmp_path, tmp_path)
    assert (
        found[-1] < 0.7 * found[0]
    )  # the run learns something, so that a weight that stands still would show
    if golden.environment() == golden.golden()["environment"]:
        assert [loss.hex() for loss in found] == golden.golden()["losses"]
    else:
        assert golden.furthest(found, expected) < golden.ELSEWHERE
