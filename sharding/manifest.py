"""What was written: `manifest.json`, and the account that must balance before it exists.

statistics of every task  ->  n_in = n_ok + n_duplicate + sum of n_rejected, exactly
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from sharding.errors import UserError
from sharding.files import TEMPORARY, read_json, write_json, write_whole
from sharding.plan import Plan
from sharding.table import write_table
from sharding.task import Stats, Task

REJECTS = "rejects.jsonl.gz"
SWEEPS = 3
"""How often the working files are removed: a worker of a driver that was killed may add one while we look."""


class Unbalanced(Exception):
    """Molecules were lost or made up: a fault of the program."""


def partitions(root: Path, plan: Plan) -> list[Task]:
    """The tasks of the first phase."""
    return [Task(str(root), "partition", index) for index in range(len(plan.partitions))]


def shards(root: Path, plan: Plan) -> list[Task]:
    """The tasks of the second phase."""
    return [Task(str(root), "featurize", index) for index in range(plan.buckets)]


def finalize(root: Path, plan: Plan, *, keep_work: bool = False) -> dict[str, Any]:
    """Check the account, join the rejects, write the manifest, remove the working files."""
    first = [read_json(task.stats) for task in partitions(root, plan)]
    second: list[Stats] = []

    def blocks() -> Iterator[Sequence[Mapping[str, int]]]:
        for task in shards(root, plan):  # one at a time: a large job's are millions
            stats = read_json(task.stats)
            yield stats.pop("blocks")
            second.append(stats)

    table = write_table(root, blocks())
    manifest = _manifest(plan, first, second) | {
        "shards": [
            {"file": f"shards/{task.data.name}", "rows": stats["n_ok"], **_pick(stats, "bytes", "sha256")}
            for task, stats in zip(shards(root, plan), second, strict=True)
        ],
        "blocks": table,
    }
    _join_rejects(root, [*partitions(root, plan), *shards(root, plan)])
    write_json(root / "manifest.json", manifest)
    sweep_work(root, keep_work=keep_work)
    return manifest


def _manifest(plan: Plan, first: list[Stats], second: list[Stats]) -> dict[str, Any]:
    """All but the shards. Raises `Unbalanced`."""
    rejected = _total([*first, *second], "n_rejected")
    n_in, n_blank = (sum(stats[name] for stats in first) for name in ("n_in", "n_blank"))
    n_ok, n_duplicate = (sum(stats[name] for stats in second) for name in ("n_ok", "n_duplicate"))
    accounted = n_ok + n_duplicate + sum(rejected.values())
    if not n_in == accounted == plan.rows - n_blank:
        raise Unbalanced(f"{plan.rows} rows planned, {n_blank} blank, {n_in} read, {accounted} accounted for")
    return {
        "schema": plan.schema,
        "name": "molparallax shards",
        "fingerprint": plan.fingerprint,
        "n_in": n_in,
        "n_ok": n_ok,
        "n_duplicate": n_duplicate,
        "n_rejected": rejected,
        "unknown_features": _total(second, "unknown"),
        "cut": _total(second, "cut"),
        "unknown_tokens": _total(second, "unknown_tokens"),
        "texts": _total(second, "text"),
        "settings": plan.settings,
        "inputs": [
            {"name": one.source.url.rsplit("/", 1)[-1], "bytes": one.survey.bytes, "sha256": one.survey.sha256,
             "rows": one.survey.rows}
            for one in plan.inputs
        ],
        "code": _version(),
    }  # fmt: skip


def load_manifest(root: Path) -> dict[str, Any]:
    """The manifest of finished shards, or `UserError`."""
    file = root / "manifest.json"
    if not root.is_dir():
        raise UserError(
            f"shards folder {root} does not exist. Make it: python launch/shard.py output={root} ..."
        )
    if not file.is_file():
        unfinished = "a sharding job that is not finished" if (root / "plan.json").is_file() else "no shards"
        raise UserError(
            f"{root} holds {unfinished} (no manifest.json). Run launch/shard.py to the end first."
        )
    try:
        manifest: dict[str, Any] = read_json(file)
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}). Restore it, or shard into a new folder.") from error
    return manifest


def sweep_work(root: Path, *, keep_work: bool = False) -> None:
    """What only an unfinished job needs."""
    if keep_work:
        sweep_temporaries(root)
    else:
        for _ in range(SWEEPS):
            shutil.rmtree(root / "work", ignore_errors=True)


def sweep_temporaries(root: Path) -> None:
    """What those left who were killed while they wrote."""
    for orphan in root.glob(f"**/{TEMPORARY}*"):
        orphan.unlink(missing_ok=True)


def _join_rejects(root: Path, tasks: Iterable[Task]) -> None:
    """One file of gzip members: joined without opening them, and `zcat` reads it as one."""

    def write(stream: IO[bytes]) -> None:
        for task in tasks:
            stream.write(task.rejects.read_bytes())

    write_whole(root / REJECTS, write)


def _pick(stats: Stats, *names: str) -> Stats:
    return {name: stats[name] for name in names}


def _total(stats: list[Stats], name: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    for entry in stats:
        total.update(entry.get(name, {}))
    return dict(total.most_common())


def _version() -> str:
    try:
        return version("molparallax")
    except PackageNotFoundError:
        return "source"
