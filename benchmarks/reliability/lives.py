"""A supervised run whose ranks are killed again and again, beside one that nothing happens to.

    python -m benchmarks.reliability.lives --write

Writes what docs/pictures/draw_reliability.py draws: for both runs the second at which each step was seen, the kills,
and the losses of their records.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.circumstances import circumstances
from benchmarks.reliability.__main__ import some_shards
from benchmarks.reliability.launches import REPOSITORY
from benchmarks.reliability.sides import Ours

RESULTS = REPOSITORY / "benchmarks" / "results" / "reliability-lives.json"
STEPS, SAVE_EVERY, KILLS = 60, 8, 4


def watched(side: Ours, name: str, kills: list[tuple[int, int]]) -> dict[str, Any]:
    """A run from start to end; each (step, rank) of `kills` is struck when that step stands in the record."""
    run, begun = side.root / name, time.monotonic()
    launch = side.look_after(run, steps=STEPS, save_every=SAVE_EVERY)
    seen: list[tuple[float, int]] = []
    struck: list[tuple[float, int, int]] = []
    while launch.running:
        losses = side.losses(run)
        now, step = round(time.monotonic() - begun, 2), losses[-1][0] if losses else 0
        if not seen or seen[-1][1] != step:
            seen.append((now, step))
        if kills and step >= kills[0][0]:
            _, rank = kills.pop(0)
            launch.rank(rank).kill()
            struck.append((now, step, rank))
        time.sleep(0.02)
    assert launch.wait() == 0, launch.output
    return {
        "seen": seen,
        "kills": struck,
        "losses": side.losses(run),
        "weights": side.final(run, STEPS)["weights"],
    }


def main() -> None:
    """Both runs, compared."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    args = parser.parse_args()
    chance = random.Random(2)
    targets = sorted(chance.sample(range(5, STEPS - 3), KILLS))
    with tempfile.TemporaryDirectory() as folder:
        side = Ours(Path(folder), some_shards(Path(folder)))
        whole = watched(side, "whole", [])
        killed = watched(side, "killed", [(step, chance.randint(0, 1)) for step in targets])
    same = whole["losses"] == killed["losses"] and whole["weights"] == killed["weights"]
    found = {
        "circumstances": circumstances("reliability.lives", "two supervised ranks, gloo, ZeRO-1, dropout"),
        "steps": STEPS,
        "save_every": SAVE_EVERY,
        "same": same,
        "whole": whole,
        "killed": killed,
    }
    print(f"{len(killed['kills'])} kills at {killed['kills']}; losses and weights the same: {same}")
    if args.write:
        RESULTS.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
