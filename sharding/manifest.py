"""What was written: `manifest.json`, and the account that must balance before it exists.

statistics of every task  ->  n_in = n_ok + n_duplicate + sum of n_rejected, exactly
"""

import gzip
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from sharding.errors import UserError
from sharding.files import read_json, write_json, write_whole
from sharding.plan import Plan
from sharding.table import write_table
from sharding.write import Task


class Unbalanced(Exception):
    """Molecules were lost or made up: a fault of the program."""


def finalize(root: Path, plan: Plan) -> dict[str, Any]:
    """Check the account, join the rejects, write the manifest, remove the working files."""
    partitions = [Task(str(root), "partition", index) for index in range(len(plan.partitions))]
    shards = [Task(str(root), "featurize", index) for index in range(plan.buckets)]
    first = [read_json(task.stats) for task in partitions]
    second = [read_json(task.stats) for task in shards]
    rejected = _total([*first, *second], "n_rejected")
    manifest = {
        "schema": plan.schema,
        "name": "molparallax shards",
        "fingerprint": plan.fingerprint,
        "n_in": sum(stats["n_in"] for stats in first),
        "n_ok": sum(stats["n_ok"] for stats in second),
        "n_duplicate": sum(stats["n_duplicate"] for stats in second),
        "n_rejected": rejected,
        "unknown_features": _total(second, "unknown"),
        "cut": _total(second, "cut"),
        "unknown_tokens": _total(second, "unknown_tokens"),
        "settings": plan.settings,
        "input": {name: plan.input[name] for name in ("bytes", "sha256", "rows")},
        "code": version("molparallax") if _installed() else "source",
        "shards": [
            {
                "file": f"shards/{task.stem.name}.tar",
                "rows": stats["n_ok"],
                "bytes": stats["bytes"],
                "sha256": stats["sha256"],
            }
            for task, stats in zip(shards, second, strict=True)
        ],
        "blocks": write_table(root, (stats["blocks"] for stats in second)),
    }
    accounted = manifest["n_ok"] + manifest["n_duplicate"] + sum(rejected.values())
    if not manifest["n_in"] == accounted == plan.input["rows"]:
        raise Unbalanced(
            f"{plan.input['rows']} rows planned, {manifest['n_in']} read, {accounted} accounted for"
        )
    _join_rejects(root, [*partitions, *shards])
    write_json(root / "manifest.json", manifest)
    for task in shards:
        task.stem.with_suffix(".rejects.jsonl.gz").unlink(missing_ok=True)
    for file in (root / "work").glob("*"):
        file.unlink()
    (root / "work").rmdir()
    return manifest


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


def _join_rejects(root: Path, tasks: list[Task]) -> None:
    def write(stream: IO[bytes]) -> None:
        for task in tasks:
            file = task.stem.with_suffix(".rejects.jsonl.gz")
            if file.is_file():  # absent only when a finalize was cut short after the join
                stream.write(gzip.decompress(file.read_bytes()))

    write_whole(root / "rejects.jsonl", write)


def _total(stats: list[dict[str, Any]], name: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    for entry in stats:
        total.update(entry.get(name, {}))
    return dict(total.most_common())


def _installed() -> bool:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return bool(distribution("molparallax"))
    except PackageNotFoundError:
        return False
