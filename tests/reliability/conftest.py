"""The assembled trainer as a user starts it, on shards whose molecules no number of ranks shares equally."""

import json

import pytest

from benchmarks.reliability.launches import REPOSITORY, Launch, python, striking
from benchmarks.reliability.sides import Ours
from pretrain import checkpoint
from sharding.config import ShardConfig
from sharding.job import shard

STEPS, SAVE_EVERY = 12, 2


LIMIT_S = 600
"""For everything that one launch does, on a machine that is busy with other tests."""


class Doorway:
    """`python launch/pretrain.py` with a run of a few seconds at toy width; dropout is on."""

    def __init__(self, shards, folder):
        self.shards, self.folder = shards, folder

    def command(self, run, *options):
        """As a user types it, for two ranks."""
        own = (f"data={self.shards}", f"run={run}", f"train.steps={STEPS}", f"train.save_every={SAVE_EVERY}")
        script = str(REPOSITORY / "launch" / "pretrain.py")
        return python(script, *Ours.OPTIONS, *own, "train.zero_stage=1", "supervise.ranks=2", *options)

    def start(self, name, *options, environment=None):
        """The command, under way."""
        number = len(list(self.folder.glob(f"{name}.*.log")))
        log = self.folder / f"{name}.{number}.log"
        return Launch(self.command(self.folder / name, *options), log, environment)

    def run(self, name, *options, environment=None):
        """The command, done; what it said."""
        launch = self.start(name, *options, environment=environment)
        assert launch.wait(LIMIT_S) == 0, launch.output
        return launch.output

    def lines(self, name, file="metrics"):
        """The whole lines of a run's record."""
        path = self.folder / name / f"{file}.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def assert_same(self, name, other):
        """The same losses at the same steps, the same evaluation, the same bits of every weight."""
        told = [[(line["step"], line["loss"]) for line in self.lines(run)] for run in (name, other)]
        assert [step for step, _ in told[0]] == list(range(1, STEPS + 1))
        assert told[0] == told[1]
        last, last_other = (self.lines(run, "evaluation")[-1] for run in (name, other))
        timeless = last.keys() - {"seconds"}
        assert {key: last[key] for key in timeless} == {key: last_other[key] for key in timeless}
        weights, expected = (
            checkpoint.weights(self.folder / run / "checkpoints" / f"step-{STEPS}") for run in (name, other)
        )
        assert weights.keys() == expected.keys()
        for parameter, tensor in weights.items():
            assert tensor.equal(expected[parameter]), parameter


@pytest.fixture(scope="session")
def doorway(zinc, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reliability")
    (folder / "in.smi").write_text("\n".join(zinc[:607]) + "\n")
    shard(ShardConfig(input=str(folder / "in.smi"), output=str(folder / "shards")))
    return Doorway(folder / "shards", folder)


@pytest.fixture(scope="session")
def whole(doorway):
    """The run that nothing happens to; what its ranks write is counted."""
    counting = striking(doorway.folder / "whole" / "checkpoints", None, 0, log=doorway.folder / "events")
    doorway.run("whole", environment=counting)
    return "whole"


@pytest.fixture(scope="session")
def events(doorway, whole):
    """By rank, how many writes, flushes and renames a save takes."""
    ranks = [line.split()[0] for line in (doorway.folder / "events").read_text().splitlines()]
    return {rank: ranks.count(str(rank)) / (STEPS // SAVE_EVERY) for rank in (0, 1)}
