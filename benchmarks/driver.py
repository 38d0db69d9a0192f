"""What the driver of a very large job costs: its plan, its tasks, its manifest, and the reader's plan of an epoch.

    python -m benchmarks.driver --rows 10_000_000_000 --tasks 100_000 --write

Everything is the project's own code on a job whose tasks were not run: the survey is made up, every task is an
empty function in a real worker process, and the statistics of the tasks are written by this program in the
form in which tasks write them. Each stage runs in a process of its own, so its peak memory is its own.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import benchmarks.driver  # by this name, and not as __main__, a child knows its functions
from benchmarks.circumstances import circumstances
from sharding.child import Child
from sharding.config import Executor, ShardConfig
from sharding.execute import execute
from sharding.files import write_bytes, write_json
from sharding.manifest import finalize, partitions, shards
from sharding.plan import Input, Plan, plan_for
from sharding.read import Lanes, Shards, choose_lanes
from sharding.sources import Mark, Source, Survey
from sharding.task import Task
from sharding.tokens import Tokenizers

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "driver.md"
BYTES_A_ROW = 45


def made_up_plan(root: Path, rows: int, files: int) -> Plan:
    """As if so many files had been surveyed."""
    each = rows // files
    inputs = []
    for number in range(files):
        url = f"s3://bucket/part-{number:05d}.smi"
        size = each * BYTES_A_ROW
        marks = tuple(Mark(row, row * BYTES_A_ROW, row) for row in range(0, each, 65_536))
        source = Source(url=url, kind="words", compression="", bytes=size, stamp="")
        survey = Survey(
            url=url, bytes=size, stamp="", sha256=f"{number:064x}", rows=each, header=(), marks=marks
        )
        inputs.append(Input(source, survey))
    return plan_for(ShardConfig(input="s3://bucket", output=str(root)), inputs)


def nothing(task: Task) -> dict[str, int]:
    """A task's answer, without the task."""
    return {"n_ok": task.number}


def plan(root: Path, rows: int, _tasks: int) -> str:
    """Survey to tasks."""
    made = made_up_plan(root, rows, files=1000)
    return f"{len(made.partitions):,} partition tasks, {made.buckets:,} shards"


def tasks(root: Path, _rows: int, count: int) -> str:
    """So many empty tasks through two worker processes."""
    config = ShardConfig(input="in", output="out", executor=Executor.processes, workers=2)
    begun = time.perf_counter()
    todo = (Task(str(root), "partition", number) for number in range(count))
    done = sum(1 for _ in execute(todo, nothing, config))
    return f"{done:,} tasks, {1e6 * (time.perf_counter() - begun) / done:,.0f} us each"


def write_statistics(root: Path, made: Plan) -> None:
    """What the tasks would have left."""
    for task, pieces in zip(partitions(root, made), made.partitions, strict=True):
        n = sum(piece.rows for piece in pieces)
        write_json(
            task.stats, {"n_in": n, "n_blank": 0, "n_ok": n, "n_rejected": {"valence": 0}, "bytes": 30 * n}
        )
        write_bytes(task.rejects, b"")
    left = made.rows
    for task in shards(root, made):
        n = left if task.number == made.buckets - 1 else made.rows // made.buckets
        left -= n
        size = 85 * made.rows_a_block
        blocks = [
            {"offset": 4096 + number * size, "bytes": size, "rows": made.rows_a_block, "crc32": number}
            for number in range(-(-n // made.rows_a_block))
        ]
        stats: dict[str, Any] = {"n_ok": n, "n_duplicate": 0, "n_rejected": {}}
        write_json(task.stats, stats | {"bytes": 85 * n, "sha256": f"{task.number:064x}", "blocks": blocks})
        write_bytes(task.rejects, b"")


def account(root: Path, rows: int, _tasks: int) -> str:
    """Statistics to manifest."""
    made = made_up_plan(root, rows, files=1000)
    manifest = finalize(root, made)
    sizes = {name: (root / name).stat().st_size for name in ("manifest.json", "blocks.npy")}
    told = ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in sizes.items())
    return f"{manifest['n_ok']:,} molecules, {manifest['blocks']['count']:,} blocks; {told}"


def epoch(root: Path, _rows: int, _tasks: int) -> str:
    """Manifest to the order of an epoch, as every rank does it."""
    opened = Shards(root)
    lanes = Lanes(blocks=opened.blocks, batch=8192, lanes=choose_lanes(len(opened.blocks), 8192), seed=0)
    first = lanes.lane(0, 0)
    return f"{lanes.steps:,} steps of 8,192 molecules in {lanes.lanes} lanes of {len(first):,} blocks"


def measured(stage: str, root: Path, rows: int, count: int) -> tuple[str, float, float]:
    """(what it says, seconds, peak memory in MB) of a stage, here: each is run in a child of its own."""
    begun = time.perf_counter()
    said = {"plan": plan, "tasks": tasks, "account": account, "epoch": epoch}[stage](root, rows, count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return said, time.perf_counter() - begun, peak


def main() -> None:
    """Parse, measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000_000, help="molecules of the made-up job")
    parser.add_argument("--tasks", type=int, default=100_000, help="empty tasks to run")
    parser.add_argument("--write", action="store_true", help=f"append the result to {RESULTS.name}")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lines = ["| stage | | seconds | peak memory, MB |", "|---|---|---:|---:|"]
        Tokenizers.load().save(root)
        write_statistics(root, made_up_plan(root, args.rows, files=1000))
        for stage in ("plan", "tasks", "account", "epoch"):
            child = Child()
            child.send(benchmarks.driver.measured, stage, root, args.rows, args.tasks)
            said, seconds, peak = child.receive()
            child.close()
            lines.append(f"| {stage} | {said} | {seconds:,.1f} | {peak:,.0f} |")
            print(lines[-1], file=sys.stderr)
    report = "\n".join(
        [circumstances("driver", f"{args.rows:,} molecules, {args.tasks:,} empty tasks"), "", *lines]
    )
    print(report)
    if args.write:
        RESULTS.parent.mkdir(exist_ok=True)
        title = "" if RESULTS.exists() else "# The driver of a very large job\n\n"
        with RESULTS.open("a") as results:
            results.write(f"{title}{report}\n\n")


if __name__ == "__main__":
    main()
