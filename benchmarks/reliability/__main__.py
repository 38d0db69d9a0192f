"""The table of faults and outcomes, raw DeepSpeed beside this project, each cell from what a program saw.

    python -m benchmarks.reliability --write                       everything, half an hour to two hours on two cores
    python -m benchmarks.reliability --only flipped --side ours    one cell

Exit codes, files, losses and hashes of weights decide on the words; bold is what a user would not want.
"""

import argparse
import datetime
import gzip
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.circumstances import commit, processor
from benchmarks.reliability import saves, shards, steps
from benchmarks.reliability.launches import REPOSITORY
from benchmarks.reliability.ranks import serve
from benchmarks.reliability.sides import Ours, Raw, Side

RESULTS = REPOSITORY / "benchmarks" / "results" / "reliability.md"
CELLS = RESULTS.with_suffix(".json")
Cells = dict[str, dict[str, dict[str, str]]]
"""By fault and trainer: outcome, commit, date."""
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
    "stopped": (f"a rank is stopped (SIGSTOP), limit {steps.HANG_S:.0f} s", steps.stopped),
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
    except Exception:  # noqa: BLE001 - the others go on
        traceback.print_exc()
        told = "experiment failed"
    print(f"{name}, {side.name} ({time.monotonic() - begun:.0f} s): {told}", file=sys.stderr, flush=True)
    return told


def kept() -> Cells:
    """What has been measured so far."""
    return json.loads(CELLS.read_text()) if CELLS.exists() else {}


def keep(name: str, side: Side, told: str) -> None:
    """Into the JSON that the table is made from: cells are measured one by one, since all take an hour."""
    date = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    cells = kept()
    cells.setdefault(name, {})[side.name] = {"outcome": told, "commit": commit(), "date": date}
    CELLS.write_text(json.dumps(cells, indent=1) + "\n")


def table(cells: Cells) -> str:
    """The faults that were tried, and what came of it."""
    lines = [f"| fault | {Ours.name} | {Raw.name} |", "|---|---|---|"]
    for name, (title, _) in FAULTS.items():
        found = [cells.get(name, {}).get(side.name, {}).get("outcome", "not tried") for side in (Ours, Raw)]
        if name in cells:
            lines.append(f"| {title} | {' | '.join(found)} |")
    return "\n".join(lines)


def report(cells: Cells) -> str:
    """The file of results."""
    each = [cell for row in cells.values() for cell in row.values()]
    versions = ", ".join(f"{name} {version(name)}" for name in ("deepspeed", "torch", "webdataset"))
    lines = [
        "command: `python -m benchmarks.reliability --write`, with `--only` and `--side` for single cells",
        f"machine: {processor()}, two ranks, gloo, shared with other work",
        f"versions: {versions}",
        f"commits: {', '.join(sorted({cell['commit'] for cell in each}))}",
        f"dates: {', '.join(sorted({cell['date'] for cell in each}))}",
    ]
    told = "\n".join(f"* {line}" for line in lines)
    return f"# Faults and outcomes, beside raw DeepSpeed\n\n{told}\n\n{table(cells)}\n"


def main() -> None:
    """Parse, strike, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS), help="these faults")
    parser.add_argument("--side", choices=("raw", "ours"), help="this trainer only")
    parser.add_argument("--write", action="store_true", help=f"keep the results in {RESULTS.name}")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        serve()
        sides: list[Side] = []
        if args.side != "raw":
            sides.append(Ours(root, some_shards(root)))
        if args.side != "ours":
            sides.append(Raw(root))
        for name in args.only:
            for side in sides:
                told = outcome(side, name)
                if args.write:
                    keep(name, side, told)
    if args.write:
        RESULTS.write_text(report(kept()))


if __name__ == "__main__":
    main()
