"""The sharding job: plan -> partition -> featurize -> finalize, each phase skipping what is complete.

ShardConfig  ->  the manifest
"""

import time
from pathlib import Path
from typing import Any

from sharding.config import ShardConfig
from sharding.errors import UserError
from sharding.execute import execute
from sharding.files import TEMPORARY, read_json
from sharding.manifest import finalize, load_manifest
from sharding.molecule import REASONS
from sharding.plan import Plan, adopt, make_plan
from sharding.progress import ProgressLine
from sharding.tokens import Tokenizers
from sharding.write import Kind, Task


def shard(config: ShardConfig) -> dict[str, Any]:
    """Run the job to its end, or the rest of it, and return the manifest."""
    plan = make_plan(config)
    root = Path(config.output).resolve()
    if adopt(plan, root, config.on_change) and (root / "manifest.json").is_file():
        return load_manifest(root)
    Tokenizers.load(config.record.smiles_tokenizer, config.record.text_tokenizer).save(root)
    for orphan in root.glob(f"*/{TEMPORARY}*"):  # of a run that was killed while it wrote
        orphan.unlink()
    _phase("partition", len(plan.partitions), root, config)
    if all(n == 0 for n in _counts(root, plan, "n_ok")):
        reasons = _reasons(root, plan)
        raise UserError(
            f"{config.input} holds no valid molecule: {reasons}. Expected one SMILES a line"
            f" (or a column of them, column={config.column})."
        )
    _phase("featurize", plan.buckets, root, config)
    return finalize(root, plan)


def summary(manifest: dict[str, Any]) -> str:
    """The job's account, as lines for a person."""
    rejected, shards = manifest["n_rejected"], manifest["shards"]
    size = sum(entry["bytes"] for entry in shards)
    lines = [
        f"{manifest['n_in']:,} molecules in: {manifest['n_ok']:,} kept, {manifest['n_duplicate']:,} duplicates, "
        f"{sum(rejected.values()):,} rejected",
        *(f"  {count:,} x {reason}: {REASONS[reason]}" for reason, count in rejected.items()),
        f"{len(shards)} shards, {size / 1e6:.1f} MB, {size / max(1, manifest['n_ok']):.0f} bytes a molecule",
    ]
    lines += [f"  {count:,} x unknown {column}" for column, count in manifest["unknown_features"].items()]
    lines += [f"  {count:,} x {stream} tokens cut" for stream, count in manifest["cut"].items()]
    return "\n".join(lines)


def _phase(kind: Kind, count: int, root: Path, config: ShardConfig) -> None:
    tasks = [Task(str(root), kind, index) for index in range(count)]
    open_tasks = [task for task in tasks if not task.stats.is_file()]
    begun, seen = time.monotonic(), 0
    with ProgressLine(kind, len(tasks), len(tasks) - len(open_tasks)) as line:
        for _, stats in execute(open_tasks, config.executor, config.workers):
            seen += stats["n_ok"] + sum(stats["n_rejected"].values()) + stats.get("n_duplicate", 0)
            rate = seen / (time.monotonic() - begun)
            line.advance(1, f"{seen:,} molecules, {rate:,.0f} molecules/s")


def _counts(root: Path, plan: Plan, name: str) -> list[int]:
    return [
        read_json(Task(str(root), "partition", index).stats)[name] for index in range(len(plan.partitions))
    ]


def _reasons(root: Path, plan: Plan) -> str:
    totals: dict[str, int] = {}
    for index in range(len(plan.partitions)):
        for reason, count in read_json(Task(str(root), "partition", index).stats)["n_rejected"].items():
            totals[reason] = totals.get(reason, 0) + count
    return ", ".join(f"{count:,} x {reason} ({REASONS[reason]})" for reason, count in totals.items())
