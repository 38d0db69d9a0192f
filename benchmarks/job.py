"""A whole sharding job as a user starts it: wall time on 1, 2, ... processes, and the memory of its processes.

    python -m benchmarks.job --input zinc250k.smi.gz --workers 1 2 --write

Every run is `launch/shard.py` in a new folder, as a process of its own; memory is the resident set of each of its
processes (driver, workers, and the child in which each worker meets molecules), looked at five times a second.
The shards of all runs are compared.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.circumstances import circumstances
from sharding.child import allocator
from sharding.files import read_json

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "job.md"
LOOK_S = 0.2


class Run(NamedTuple):
    """What a job took."""

    workers: int
    seconds: float
    largest_mb: float
    """Resident set of the largest process, at its largest"""
    together_mb: float
    """of all processes together, at their largest"""
    manifest: dict


def run(given: list[str], workers: int, folder: Path) -> Run:
    """Start it, watch it, wait for it."""
    command = [sys.executable, str(HERE.parent / "launch" / "shard.py"), f"input=[{','.join(given)}]"]
    options = [f"output={folder}", "executor=processes", f"workers={workers}"]
    begun = time.perf_counter()
    process = psutil.Process(subprocess.Popen([*command, *options]).pid)
    largest = together = 0.0
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        sizes = [size for one in _family(process) if (size := _size(one))]
        largest, together = max([largest, *sizes]), max(together, sum(sizes))
        time.sleep(LOOK_S)
    seconds = time.perf_counter() - begun
    if code := process.wait():
        raise SystemExit(f"the job ended with {code}")
    return Run(workers, seconds, largest / 1e6, together / 1e6, read_json(folder / "manifest.json"))


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:  # it ended while we looked
        return []


def _size(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def table(runs: list[Run]) -> str:
    """One row a run; efficiency is against the first."""
    first = runs[0]
    lines = [
        "| workers | seconds | molecules/s | efficiency | largest process, MB | all together, MB |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for one in runs:
        efficiency = first.seconds * first.workers / (one.seconds * one.workers)
        lines.append(
            f"| {one.workers} | {one.seconds:,.0f} | {one.manifest['n_in'] / one.seconds:,.0f} | {efficiency:.2f} | "
            f"{one.largest_mb:,.0f} | {one.together_mb:,.0f} |"
        )
    manifest = first.manifest
    size = sum(shard["bytes"] for shard in manifest["shards"])
    same = all(one.manifest["shards"] == manifest["shards"] for one in runs)
    return "\n".join(
        [
            *lines,
            "",
            f"* {manifest['n_in']:,} rows in, {manifest['n_ok']:,} kept; {size / manifest['n_ok']:.1f} bytes a "
            f"molecule in {manifest['blocks']['count']} blocks; shards of all runs {'equal' if same else 'DIFFERENT'}",
        ]
    )


def main() -> None:
    """Parse, measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", nargs="+", required=True, help="files of molecules")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="one job for each")
    parser.add_argument("--write", action="store_true", help=f"append the result to {RESULTS.name}")
    args = parser.parse_args()
    given = [str(Path(one).resolve()) for one in args.input]
    runs = []
    for workers in args.workers:
        with tempfile.TemporaryDirectory() as folder:
            runs.append(run(given, workers, Path(folder) / "out"))
    about = [
        f"{os.cpu_count()} cores; load at the end {os.getloadavg()[0]:.1f}",
        f"allocator of the children: {Path(allocator()).name or 'the C library'}",
    ]
    report = "\n".join([circumstances("job", *about), "", table(runs)])
    print(report)
    if args.write:
        RESULTS.parent.mkdir(exist_ok=True)
        title = "" if RESULTS.exists() else "# A whole sharding job\n\n"
        with RESULTS.open("a") as results:
            results.write(f"{title}{report}\n\n")


if __name__ == "__main__":
    main()
