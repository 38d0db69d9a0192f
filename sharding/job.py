"""The sharding job: plan -> partition -> featurize -> finalize, each phase skipping what is complete.

ShardConfig  ->  the manifest
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sharding.adopt import adopt
from sharding.config import ShardConfig, Text
from sharding.errors import UserError
from sharding.execute import execute
from sharding.files import read_json
from sharding.manifest import finalize, load_manifest, partitions, shards, sweep_temporaries, sweep_work
from sharding.molecule import REASONS
from sharding.plan import Plan, make_plan
from sharding.progress import ProgressLine
from sharding.sources import Columns, Source, Survey, survey
from sharding.task import Task, run_task
from sharding.tokens import Tokenizers


def shard(config: ShardConfig) -> dict[str, Any]:
    """Run the job to its end, or the rest of it, and return the manifest."""
    if config.record.text is Text.llm:
        from sharding.text.language_model import check

        check(config.record.language_model)
    plan = plan_of(config)
    root = Path(config.output).resolve()
    if adopt(plan, root, config.on_change) and (root / "manifest.json").is_file():
        sweep_work(root, keep_work=config.keep_work)  # of a run that was killed just before its end
        return _as_promised(root, load_manifest(root))
    Tokenizers.load(config.record.smiles_tokenizer, config.record.text_tokenizer).save(root)
    return finish(plan, root, config)


def plan_of(config: ShardConfig) -> Plan:
    """The plan, its inputs surveyed by the same workers as the tasks when there are many."""

    def surveyor(sources: Sequence[Source], columns: Columns) -> list[Survey]:
        if len(sources) < 2:
            return [survey(source, columns) for source in sources]
        found = {}
        with ProgressLine("survey", len(sources)) as line:
            for (source, _), one in execute([(source, columns) for source in sources], _survey, config):
                found[source] = one
                line.advance(1, source.url.rsplit("/", 1)[-1])
        return [found[source] for source in sources]

    return make_plan(config, surveyor)


def _survey(what: tuple[Source, Columns]) -> Survey:
    return survey(*what)


def finish(plan: Plan, root: Path, config: ShardConfig) -> dict[str, Any]:
    """Do the tasks that are not done, then account for all."""
    sweep_temporaries(root)
    (root / "work").mkdir(parents=True, exist_ok=True)
    waiting = [task for task in shards(root, plan) if not _is_done(task)]
    first = partitions(root, plan)
    open_first = [task for task in first if not _is_done(task, needs_data=bool(waiting))]
    _phase(open_first, first, config)
    if all(read_json(task.stats)["n_ok"] == 0 for task in first):
        reasons = _reasons(first)
        raise UserError(
            f"{', '.join(config.inputs)} holds no {'valid ' if reasons else ''}molecule{reasons}. Expected one "
            f"SMILES a line (or a column of them, column={config.column})."
        )
    _phase(waiting, shards(root, plan), config)
    return finalize(root, plan, keep_work=config.keep_work)


def _is_done(task: Task, *, needs_data: bool = True) -> bool:
    """Committed, and what it made is there still: somebody may have cleaned up by hand."""
    stats = task.done()
    if stats is None or not task.rejects.is_file():
        return False
    if not needs_data:
        return True
    return task.data.is_file() and task.data.stat().st_size == stats["bytes"]


def _as_promised(root: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest, if every shard is there with its length: what a second run can afford to look at."""
    for entry in manifest["shards"]:
        file = root / entry["file"]
        if not file.is_file() or file.stat().st_size != entry["bytes"]:
            raise UserError(
                f"{file} is {'not whole' if file.is_file() else 'missing'}. mode=verify looks at every byte, "
                "mode=repair builds again what is broken."
            )
    return manifest


def summary(manifest: dict[str, Any]) -> str:
    """The job's account, as lines for a person."""
    rejected, entries = manifest["n_rejected"], manifest["shards"]
    size = sum(entry["bytes"] for entry in entries)
    lines = [
        f"{manifest['n_in']:,} molecules in: {manifest['n_ok']:,} kept, {manifest['n_duplicate']:,} duplicates, "
        f"{sum(rejected.values()):,} rejected",
        *(f"  {count:,} x {reason}: {REASONS[reason]}" for reason, count in rejected.items()),
        f"{len(entries)} shards, {size / 1e6:.1f} MB, {size / max(1, manifest['n_ok']):.0f} bytes a molecule",
    ]
    lines += [f"  {count:,} x unknown {column}" for column, count in manifest["unknown_features"].items()]
    lines += [f"  {count:,} x {stream} tokens cut" for stream, count in manifest["cut"].items()]
    lines += [f"  {count:,} texts {kind}" for kind, count in manifest["texts"].items()]
    return "\n".join(lines)


def _phase(waiting: Sequence[Task], tasks: Sequence[Task], config: ShardConfig) -> None:
    if not waiting:
        return
    begun, ok, rejected, duplicate = time.monotonic(), 0, 0, 0
    with ProgressLine(waiting[0].kind, len(tasks), len(tasks) - len(waiting)) as line:
        for _, stats in execute(waiting, run_task, config):
            ok += stats["n_ok"]
            rejected += sum(stats["n_rejected"].values())
            duplicate += stats.get("n_duplicate", 0)
            rate = (ok + rejected + duplicate) / (time.monotonic() - begun)
            repeated = f", {duplicate:,} duplicate" if duplicate else ""
            line.advance(1, f"{ok:,} ok, {rejected:,} rejected{repeated}, {rate:,.0f} molecules/s")


def _reasons(tasks: Sequence[Task]) -> str:
    totals: dict[str, int] = {}
    for task in tasks:
        for reason, count in read_json(task.stats)["n_rejected"].items():
            totals[reason] = totals.get(reason, 0) + count
    told = ", ".join(f"{count:,} x {reason} ({REASONS[reason]})" for reason, count in totals.items())
    return told and f": {told}"
