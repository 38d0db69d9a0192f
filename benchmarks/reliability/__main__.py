"""The table of faults and outcomes, raw DeepSpeed beside this project, each cell from what a program saw.

    python -m benchmarks.reliability --write                       everything, about half an hour on two cores
    python -m benchmarks.reliability --only flipped --side ours    one cell

Exit codes, files, losses and hashes of weights decide on the words; bold is what a user would not want.
"""

import argparse
import gzip
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.circumstances import circumstances
from benchmarks.reliability import saves, shards, steps
from benchmarks.reliability.launches import REPOSITORY
from benchmarks.reliability.ranks import serve
from benchmarks.reliability.sides import Ours, Raw, Side

RESULTS = REPOSITORY / "benchmarks" / "results" / "reliability.md"
MOLECULES = 607
"""A prime number: no number of ranks shares it equally."""

FAULTS: dict[str, tuple[str, Callable[[Side], str]]] = {
    "kill_in_save": ("SIGKILL of one rank inside a save, then the same command", saves.kill_in_save),
    "disk_full": ("the disk of one rank is full in a save, then has room", saves.disk_full),
    "flipped": ("one bit of one rank's checkpoint file flips", saves.flipped),
    "missing": ("one rank's checkpoint file is gone", saves.missing),
    "planted": ("a pickle that runs a command lies in the checkpoint", saves.planted),
    "fewer_ranks": ("2 ranks, then 1", saves.fewer_ranks),
    "killed": ("SIGKILL of one rank between two saves, then the same command", steps.killed),
    "left_alone": ("SIGKILL of one rank, and nobody is there", steps.left_alone),
    "sigterm": ("SIGTERM to the `deepspeed` runner", partial(steps.told_to_stop, name="SIGTERM")),
    "sigint": ("SIGINT to the `deepspeed` runner", partial(steps.told_to_stop, name="SIGINT")),
    "rank_told": ("SIGTERM to one rank", steps.rank_told_to_stop),
    "nan": ("NaN in one rank's forward", steps.not_a_number),
    "hangs": ("a rank never comes back from its forward", steps.hangs),
    "stopped": ("a rank is stopped (SIGSTOP), limit 10 s", steps.stopped),
    "memory": ("memory for half of a rank's batch only", steps.no_memory),
    "uneven": ("rows that two ranks cannot share equally", shards.uneven),
    "cut": ("tar shards cut short at the border of a sample", shards.cut),
}


def some_shards(folder: Path) -> Path:
    """Shards of real molecules."""
    from sharding.config import ShardConfig
    from sharding.job import shard

    molecules = gzip.decompress((REPOSITORY / "tests" / "data" / "zinc_5k.smi.gz").read_bytes()).split()
    (folder / "in.smi").write_bytes(b"\n".join(molecules[:MOLECULES]) + b"\n")
    shard(ShardConfig(input=str(folder / "in.smi"), output=str(folder / "shards")))
    return folder / "shards"


def outcome(side: Side, name: str) -> str:
    """A cell; an experiment that failed by itself says so."""
    begun = time.monotonic()
    try:
        told = FAULTS[name][1](side)
    except Exception:  # noqa: BLE001 - half an hour of the others' results must not be lost with it
        traceback.print_exc()
        told = "experiment failed"
    print(f"{name}, {side.name} ({time.monotonic() - begun:.0f} s): {told}", file=sys.stderr, flush=True)
    return told


def main() -> None:
    """Parse, strike, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS), help="these faults")
    parser.add_argument("--side", choices=("raw", "ours"), help="this trainer only")
    parser.add_argument("--write", action="store_true", help=f"append the result to {RESULTS.name}")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        serve()
        sides: list[Side] = []
        if args.side != "ours":
            sides.append(Raw(root))
        if args.side != "raw":
            sides.append(Ours(root, some_shards(root)))
        lines = [f"| fault | {' | '.join(side.name for side in sides)} |", "|---" * (1 + len(sides)) + "|"]
        for name in args.only:
            cells = [FAULTS[name][0], *(outcome(side, name) for side in sides)]
            lines.append(f"| {' | '.join(cells)} |")
    versions = "versions: " + ", ".join(
        f"{name} {version(name)}" for name in ("deepspeed", "torch", "webdataset")
    )
    report = "\n".join([circumstances("reliability", "two ranks, gloo", versions), "", *lines])
    print(report)
    if args.write:
        title = "" if RESULTS.exists() else "# Faults and outcomes, beside raw DeepSpeed\n\n"
        with RESULTS.open("a") as results:
            results.write(f"{title}{report}\n\n")


if __name__ == "__main__":
    main()
