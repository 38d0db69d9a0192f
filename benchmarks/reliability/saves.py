"""Faults in and around a checkpoint."""

import os
from pathlib import Path
from typing import Any

import torch

from benchmarks.reliability.launches import striking
from benchmarks.reliability.sides import End, Ours, Side

POINTS = 3
"""Where each rank is killed in a save: so many of its writes, flushes and renames, from the first to the last."""


def base(side: Side, **options: Any) -> Path:
    """A run of two steps with one checkpoint, made once for each choice of options."""
    run = side.root / "-".join(["base", *(f"{name}{value}" for name, value in options.items())])
    if not run.exists():
        done = side.train(run, steps=2, **options)
        assert done.code == 0, done.output
    return run


def events(side: Side, rank: int) -> tuple[list[int], Path]:
    """The numbers of this rank's events in the save of step 4, and a run in which they were counted, made once."""
    run, log = side.root / "counted", side.root / "events"
    if not run.exists():
        side.copy(base(side), run.name)
        done = side.train(run, steps=4, environment=striking(side.checkpoints(run), None, 0, log=log))
        assert done.code == 0, done.output
    lines = [line.split() for line in log.read_text().splitlines()]
    saves = [line for line in lines if not line[-1].endswith((".json", ".jsonl")) or "step" in line[-1]]
    return [int(line[1]) for line in saves if line[0] == str(rank)], run


def went_on(side: Side, run: Path, whole: str, steps: int = 4) -> tuple[bool, End]:
    """Start the run again; whether it reached the end with the weights of the run that was never struck."""
    end = side.train(run, steps=steps)
    return end.code == 0 and side.final(run, steps)["weights"] == whole, end


def kill_in_save(side: Side) -> str:
    """SIGKILL of one rank at one of its writes, then the same command again."""
    lost, refusals, well = [], [], 0
    total = 0
    for rank in (0, 1):
        found, counted = events(side, rank)
        whole = side.final(counted, 4)["weights"]
        spread = sorted({found[round(k * (len(found) - 1) / (POINTS - 1))] for k in range(POINTS)})
        for at in spread:
            run = side.copy(base(side), f"kill-{rank}-{at}")
            struck = side.train(run, steps=4, environment=striking(side.checkpoints(run), rank, at))
            assert struck.code != 0, f"no strike at {at} of rank {rank}"
            same, end = went_on(side, run, whole)
            total += 1
            well += same
            if end.code == 0:
                lost.append(4 - (end.resumed or 0))
            else:
                refusals.append(end.refusal)
    told = f"{len(lost)} of {total} points: goes on, {max(lost, default=0)} steps lost at most"
    told += f", weights as if never killed in {well}"
    return told + (f"; {len(refusals)} of {total}: **does not start** ({refusals[-1]})" if refusals else "")


def disk_full(side: Side) -> str:
    """Rank 1's disk takes no byte more from the first write of a save; then there is room again."""
    found, counted = events(side, 1)
    run = side.copy(base(side), "full")
    struck = side.train(run, steps=4, environment=striking(side.checkpoints(run), 1, found[0], kind="full"))
    same, end = went_on(side, run, side.final(counted, 4)["weights"])
    then = f"goes on from step {end.resumed}" if end.code == 0 else f"**does not start** ({end.refusal})"
    return f"{struck.refusal}; with room again it {then}" + (", same weights" if same else "")


def flipped(side: Side) -> str:
    """One bit of rank 1's file of the newest checkpoint, in three places; then the run goes on to step 6."""
    kept = side.copy(base(side), "to-4")
    assert side.train(kept, steps=4).code == 0
    whole_run = side.copy(kept, "to-6")
    assert side.train(whole_run, steps=6).code == 0
    whole = side.final(whole_run, 6)["weights"]
    told: list[str] = []
    for part in (0.3, 0.6, 0.9):
        run = side.copy(kept, f"flip-{part}")
        file = side.file_of_rank(run, 4, 1)
        data = bytearray(file.read_bytes())
        data[int(part * len(data))] ^= 16
        file.write_bytes(data)
        told.append(_after_damage(side, run, whole))
    return "; ".join(f"{told.count(words)} of 3: {words}" for words in dict.fromkeys(told))


def missing(side: Side) -> str:
    """Rank 1's file of the newest checkpoint is gone."""
    run = side.copy(side.root / "to-4", "missing")
    side.file_of_rank(run, 4, 1).unlink()
    return _after_damage(side, run, side.final(side.root / "to-6", 6)["weights"])


def _after_damage(side: Side, run: Path, whole: str) -> str:
    same, end = went_on(side, run, whole, steps=6)
    if end.code != 0:
        return f"**does not start** ({end.refusal})"
    told = f"says `{end.said}`, " if end.said else ""
    told += f"goes on from step {end.resumed}"
    if same:
        return f"{told}, weights as if undamaged"
    return f"{told}, " + ("**with other weights**" if end.said else "**with other weights, without a word**")


class Canary:
    """A pickle of this runs a command when it is opened."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.file}",)


def planted(side: Side) -> str:
    """Every file of the newest checkpoint is a pickle that runs a command, and its manifest, if any, vouches for it."""
    run, canary = side.copy(side.root / "to-4", "planted"), side.root / "canary"
    folder = side.file_of_rank(run, 4, 1).parent
    for file in folder.iterdir():
        if file.suffix in (".pt", ".safetensors"):
            torch.save({"module": Canary(canary)}, file)
    side.vouch(folder)
    end = side.train(run, steps=6)
    then = f"goes on from step {end.resumed}" if end.code == 0 else end.refusal
    return ("**runs it**" if canary.exists() else "never runs it") + f"; {then}"


def fewer_ranks(side: Side) -> str:
    """A run of two ranks goes on with one, without dropout, on every ZeRO stage."""
    told: dict[str, list[int]] = {}
    for stage in range(4):
        run = side.copy(base(side, stage=stage, dropout=0), f"fewer-{stage}")
        two = side.copy(run, f"two-{stage}")
        assert side.train(two, steps=4, stage=stage, dropout=0).code == 0
        end = side.train(run, steps=4, stage=stage, dropout=0, ranks=1)
        if end.code == 0 and isinstance(side, Ours):
            pairs = zip(side.losses(run), side.losses(two), strict=True)
            far = max(abs(one - other) for (_, one), (_, other) in pairs)
            words = f"goes on from step {end.resumed}, losses within {far:.0e}"
        else:
            words = (
                f"goes on from step {end.resumed}" if end.code == 0 else f"**does not start** ({end.refusal})"
            )
        told.setdefault(words, []).append(stage)
    return "; ".join(f"ZeRO {', '.join(map(str, stages))}: {words}" for words, stages in told.items())
