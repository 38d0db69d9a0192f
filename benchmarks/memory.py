"""What one task of a job holds at most: peak resident set of its process and of the child that meets molecules.

    python -m benchmarks.memory --input zinc250k.smi.gz chembl_blog.smi.gz --rows 65536 0 --write

A partition task is made to take the first `rows` rows of the input in one piece (0: all of them), which no plan of
fewer than 268 million rows would do, and then a featurize task the bucket with all of it. Each runs in a process of
its own; memory is the highest resident set that the kernel saw (getrusage).
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.circumstances import circumstances
from sharding import guard
from sharding.config import ShardConfig
from sharding.files import write_json
from sharding.plan import Piece, Plan, make_plan, plain
from sharding.task import Kind, Task, run_task
from sharding.tokens import Tokenizers

RESULTS = Path(__file__).parent / "results" / "memory.md"
KINDS: tuple[Kind, ...] = ("partition", "featurize")


def narrowed(plan: Plan, rows: int) -> Plan:
    """The plan with one partition task, of so many rows, and one bucket."""
    pieces, left = [], rows or plan.rows
    for file, one in enumerate(plan.inputs):
        if taken := min(left, one.survey.rows):
            pieces.append(Piece(file, 0, taken))
            left -= taken
    return replace(plan, partitions=[pieces], buckets=1)


def measured(root: str, kind: Kind) -> list[str]:
    """The cells of a task's row, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--task", kind, "--input", root]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\t")


def print_own(root: str, kind: Kind) -> None:
    """What `measured` starts: run the task, say what this process and its child took."""
    begun = time.perf_counter()
    run_task(Task(root, kind, 0))
    seconds = time.perf_counter() - begun
    guard.close()  # a child is counted when it has ended
    own, child = (
        resource.getrusage(who).ru_maxrss / 1000 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(f"{seconds:,.0f}\t{own:,.0f}\t{child:,.0f}", end="")


def table(given: list[str], counts: list[int]) -> str:
    """Two tasks for each number of rows."""
    lines = ["| task | rows | seconds | its process, MB | its child, MB |", "|---|---:|---:|---:|---:|"]
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            plan = narrowed(make_plan(ShardConfig(input=given, output=folder)), count)
            write_json(Path(folder) / "plan.json", plain(plan))
            Tokenizers.load().save(Path(folder))
            Task(folder, "partition", 0).scratch.mkdir()
            for kind in KINDS:
                cells = measured(folder, kind)
                rows = sum(piece.rows for piece in plan.partitions[0])
                lines.append(f"| {kind} | {rows:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", nargs="+", required=True, help="files of molecules")
    parser.add_argument("--rows", type=int, nargs="+", default=[65_536, 0], help="rows of a task; 0 is all")
    parser.add_argument("--write", action="store_true", help=f"append the result to {RESULTS.name}")
    parser.add_argument("--task", choices=KINDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        print_own(args.input[0], args.task)
        return
    given = [str(Path(one).resolve()) for one in args.input]
    report = f"{circumstances('memory', f'{os.cpu_count()} cores')}\n\n{table(given, args.rows)}\n"
    print(report)
    if args.write:
        title = "" if RESULTS.exists() else "# The memory of a task\n"
        with RESULTS.open("a") as results:
            results.write(f"{title}\n{report}")


if __name__ == "__main__":
    main()
