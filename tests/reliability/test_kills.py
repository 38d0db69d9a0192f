"""Whatever is killed, as often as you like: the run that reaches the end is the run that was never touched."""

import random
import shutil

import pytest

from benchmarks.reliability.launches import striking
from tests.reliability.conftest import LIMIT_S, STEPS

pytestmark = pytest.mark.slow


def test_everything_killed_at_random_moments(doorway, whole):
    """SIGKILL of supervisor and ranks, three times; the same command each time."""
    chance, run, reached = random.Random(5), "killed", 0
    for _ in range(3):
        reached = chance.randint(reached + 1, min(STEPS - 1, reached + 4))
        launch = doorway.start(run)
        assert launch.until(lambda: len(doorway.lines(run)) >= reached, LIMIT_S), launch.output  # noqa: B023
        launch.end()
    doorway.run(run)
    doorway.assert_same(run, whole)


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_a_rank_that_dies_in_every_third_save(events, doorway, whole):
    """The first one, which publishes. The supervisor starts the ranks again from the last whole checkpoint."""
    run, rank = "supervised", 0
    strike = striking(doorway.folder / run / "checkpoints", rank, round(2.5 * events[rank]))
    told = doorway.run(run, "supervise.restarts=9", "supervise.pause_s=0", environment=strike)
    assert told.count("was ended by SIGKILL") >= 2, told
    doorway.assert_same(run, whole)
