"""A task of the sharding job: its name, its files, and the function that does it wherever it runs."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

from sharding.files import read_json

Kind = Literal["partition", "featurize", "verify"]
Stats = dict[str, Any]


class Task(NamedTuple):
    """Task `number` of a kind, of the job in `root`."""

    root: str
    kind: Kind
    number: int

    @property
    def stem(self) -> Path:
        """Its files begin so."""
        folder, letter = ("work", "p") if self.kind == "partition" else ("shards", "s")
        return Path(self.root) / folder / f"{letter}{self.number:06d}"

    @property
    def stats(self) -> Path:
        """The commit marker."""
        return self.stem.with_suffix(".stats.json")

    @property
    def rejects(self) -> Path:
        """What it could not take, a line of JSON each."""
        return self.stem.with_suffix(".rejects.jsonl.gz")

    @property
    def data(self) -> Path:
        """What it makes: rows by bucket, or a shard."""
        return self.stem.with_suffix(".rows" if self.kind == "partition" else ".tar")

    @property
    def scratch(self) -> Path:
        """Where its files lie until they are whole. It goes when the job ends, with what killed workers left there.

        The driver makes it, so a worker that outlives its job, as Ray's may, finds it gone and can litter nowhere.
        """
        return Path(self.root) / "work"

    def done(self) -> Stats | None:
        """What the task did, if it was committed."""
        try:
            stats: Stats = read_json(self.stats)
        except (FileNotFoundError, ValueError):  # a marker that is no JSON marks nothing
            return None
        return stats


def run_task(task: Task) -> Stats:
    """Do the task. A function of the plan and of nothing else: twice, or by two workers at once, does no harm."""
    if task.kind == "verify":
        from sharding.verify import verify_shard

        return verify_shard(task)
    if task.kind == "partition":
        from sharding.partition import partition

        return partition(task)
    from sharding.write import write_shard

    return write_shard(task)
