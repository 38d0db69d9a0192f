"""Is what lies here what was written? Every byte of every shard against the manifest, and back to whole if not.

    verify(config)  ->  the problems, one a file; none when all is well
    repair(config)  ->  the manifest, after what was broken is built again from the input
A shard is broken when it is missing, has another length or SHA-256, or does not decode to the promised number
of molecules. A rebuilt shard has the bytes of the lost one: a task is a function of the plan.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sharding import block
from sharding.adopt import adopt
from sharding.config import ShardConfig
from sharding.errors import UserError
from sharding.execute import execute
from sharding.files import TEMPORARY, sha256
from sharding.job import finish, plan_of
from sharding.manifest import REJECTS, load_manifest, shards
from sharding.plan import load_plan
from sharding.progress import ProgressLine
from sharding.read import DamagedShard, Shards
from sharding.table import TABLE
from sharding.task import Stats, Task, run_task


class Problem(NamedTuple):
    """What is wrong with a file of the folder."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def verify(config: ShardConfig) -> list[Problem]:
    """Look at everything. Raises `UserError` only for a folder that holds no finished shards."""
    root = Path(config.output).resolve()
    manifest = load_manifest(root)
    found = list(_around(root, manifest))
    if any(problem.file == "manifest.json" for problem in found):
        return found  # nothing can be compared with it
    tasks = [Task(str(root), "verify", number) for number in range(len(manifest["shards"]))]
    with ProgressLine("verify", len(tasks)) as line:
        for _, stats in execute(tasks, run_task, config):
            found += [Problem(*one) for one in stats["problems"]]
            line.advance(1, f"{len(found)} problems")
    return sorted(found)


def _around(root: Path, manifest: dict[str, Any]) -> Iterable[Problem]:
    """What is wrong outside the shards themselves."""
    try:
        rows = sum(entry["rows"] for entry in manifest["shards"])
        accounted = manifest["n_ok"] + manifest["n_duplicate"] + sum(manifest["n_rejected"].values())
        if rows != manifest["n_ok"] or accounted != manifest["n_in"]:
            yield Problem("manifest.json", f"its account does not balance: {rows:,} rows in its shards")
        table = root / manifest["blocks"]["file"]
        if not table.is_file() or sha256(table) != manifest["blocks"]["sha256"]:
            yield Problem(TABLE, "missing" if not table.is_file() else "not the one that was written")
        promised = {entry["file"] for entry in manifest["shards"]}
    except (KeyError, TypeError, AttributeError) as error:
        yield Problem("manifest.json", f"not a manifest of shards ({type(error).__name__}: {error})")
        return
    for file in sorted((root / "shards").glob("*")):
        stem = file.name.split(".")[0]
        if file.name.startswith(TEMPORARY):
            yield Problem(f"shards/{file.name}", "left by a run that was killed; the next run removes it")
        elif f"shards/{stem}.tar" not in promised:
            yield Problem(f"shards/{file.name}", "not in the manifest")
    if not (root / REJECTS).is_file():
        yield Problem(REJECTS, "missing")


def verify_shard(task: Task) -> Stats:
    """One shard of the manifest: length, hash, and every block decoded and counted."""
    root = Path(task.root)
    manifest = load_manifest(root)
    entry = manifest["shards"][task.number]
    return {"problems": [(entry["file"], what) for what in _look(root, entry, task.number)]}


def _look(root: Path, entry: dict[str, Any], number: int) -> Iterable[str]:
    """The first thing that is wrong with a shard."""
    file = root / entry["file"]
    if not file.is_file():
        return ["missing"]
    if file.stat().st_size != entry["bytes"]:
        with file.open("rb") as stream:
            begins = stream.read(64).lstrip()[:1]
        page = ", and a web page or text by its beginning" if begins in (b"<", b"{") else ""
        return [f"{file.stat().st_size:,} of {entry['bytes']:,} bytes{page}"]
    if sha256(file) != entry["sha256"]:
        return ["bytes differ (SHA-256)"]
    try:
        opened = Shards(root)
        first, last = np.searchsorted(opened.blocks.entries["shard"], [number, number + 1])
        rows = 0
        for ref in opened.blocks[first:last]:
            members = opened.members(ref)
            molecules = block.decode(members)
            strings = {
                name: len(block.strings(members[name])) for name in members if name.endswith(".txt.gz")
            }
            if len(molecules) != ref.rows or any(count != ref.rows for count in strings.values()):
                return [f"a block at byte {ref.offset:,} holds {len(molecules)} of {ref.rows} molecules"]
            rows += len(molecules)
        return [] if rows == entry["rows"] else [f"{rows:,} of {entry['rows']:,} molecules"]
    except (DamagedShard, block.BrokenBlock) as error:
        return [str(error)]
    except UserError:  # the table or the tokenizers: told by themselves
        return []


def repair(config: ShardConfig) -> tuple[list[Problem], dict[str, Any]]:
    """Build again what is broken, from the same input: (what was wrong, the manifest afterwards)."""
    root = Path(config.output).resolve()
    plan = plan_of(config)
    if not (root / "plan.json").is_file() or load_plan(str(root)).fingerprint != plan.fingerprint:
        adopt(plan, root, config.on_change)  # says what differs
    found = verify(config) if _readable(root) else [Problem("manifest.json", "missing or not JSON")]
    if not found:
        return [], load_manifest(root)
    adopt(plan, root, config.on_change)
    before = {task.data: stats["sha256"] for task in shards(root, plan) if (stats := task.done())}
    (root / "manifest.json").unlink(missing_ok=True)
    known = {f"shards/{task.data.name}": task for task in shards(root, plan)}
    for problem in found:
        if problem.file in known:
            known[problem.file].data.unlink(missing_ok=True)
            known[problem.file].stats.unlink(missing_ok=True)
        elif problem.what == "not in the manifest":
            (root / problem.file).unlink(missing_ok=True)
    manifest = finish(plan, root, config)
    for task, entry in zip(shards(root, plan), manifest["shards"], strict=True):
        if before.get(task.data, entry["sha256"]) != entry["sha256"]:
            raise UserError(
                f"{task.data} was built again and differs from what was lost: the code or a library changed "
                "without a change of its version. Shard again with on_change=overwrite."
            )
    return found, manifest


def _readable(root: Path) -> bool:
    try:
        load_manifest(root)
    except UserError:
        return False
    return True
