"""Faults in a step, and from outside while steps are made."""

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

from benchmarks.reliability.launches import LIMIT_S, Watched, striking
from benchmarks.reliability.sides import Side, end_of

PATIENCE_S = 90.0
"""A run that has not ended then, after a rank has stopped, is said to hang."""
HANG_S = 30.0
"""The limit that the trainers are given in place of their half an hour; longer than a start on a busy machine."""
GRACE_S = 90.0
"""What a signal's sender waits for a run to be gone; the seconds that it took are told."""


def fault(**fields: Any) -> dict[str, str]:
    """For `inject`, by the environment."""
    return {"RELIABILITY_FAULT": json.dumps(fields)}


def killed(side: Side) -> str:
    """SIGKILL of rank 0 between two checkpoints, the same command again: data, losses and weights to the end."""
    whole, run = side.root / "whole", side.root / "killed"
    records = {}
    for place in (whole, run):
        records[place] = side.root / f"{place.name}-record"
        records[place].mkdir()
    recorded = {"RELIABILITY_RECORD": str(records[whole])}
    assert side.train(whole, steps=8, save_every=3, environment=recorded).code == 0
    strike = striking(run / "metrics.jsonl", 0, 5)
    strike["FAULT_UNDER"] = str(run / "metrics.jsonl")
    assert side.train(run, steps=8, save_every=3, environment=strike).code != 0
    end = side.train(run, steps=8, save_every=3, environment={"RELIABILITY_RECORD": str(records[run])})
    if end.code != 0:
        return f"**does not start** ({end.refusal})"
    data = [_digests(records[run], rank) == _digests(records[whole], rank)[end.resumed :] for rank in (0, 1)]
    before, after = dict(side.losses(whole)), dict(side.losses(run))
    far = max(abs(after[step] - before[step]) for step in range((end.resumed or 0) + 1, 9))
    same = side.final(run, 8)["weights"] == side.final(whole, 8)["weights"]
    lines = [step for step, _ in side.losses(run)]
    return (
        f"goes on from step {end.resumed}; data {'the same' if all(data) else '**differ**'}, losses "
        + ("the same" if far == 0 else f"**differ by up to {far:.2g}**")
        + f", weights {'the same bits' if same else '**differ**'}"
        + ("" if lines == sorted(set(lines)) else f"; steps stand twice in its log: {lines}")
    )


def _digests(folder: Path, rank: int) -> list[str]:
    (file,) = folder.glob(f"{rank}-*.txt")
    return file.read_text().split()


def told_to_stop(side: Side, name: str) -> str:
    """A signal to the deepspeed runner in the middle of a run that saves at its end only."""
    run = side.root / name
    launch = side.launch(run, steps=1_000_000, save_every=1_000_000)
    try:
        assert launch.until(lambda: len(side.losses(run)) > 2), launch.output
        launch.process.send_signal(getattr(signal, name))
        begun = time.monotonic()
        launch.until(lambda: False, 5)
        while launch.alive() and time.monotonic() < begun + GRACE_S:
            time.sleep(0.1)
        seconds, left, steps = time.monotonic() - begun, len(launch.alive()), len(side.losses(run))
        launch.until(lambda: False, 1)
        time.sleep(3)
        trains = len(side.losses(run)) > steps
        code = launch.process.poll()
    finally:
        launch.end()
    gone = (
        f"all gone after {seconds:.0f} s"
        if not left
        else f"**{left} processes live on** after {GRACE_S:.0f} s"
    )
    gone += " and train" if trains else ""
    saved = side.saved(run)
    return f"runner: exit {code}; {gone}; " + (f"saved at step {saved[-1]}" if saved else "**nothing saved**")


def rank_told_to_stop(side: Side) -> str:
    """SIGTERM to one rank."""
    run = side.root / "rank-told"
    launch = side.launch(run, steps=1_000_000, save_every=1_000_000)
    try:
        assert launch.until(lambda: len(side.losses(run)) > 2), launch.output
        launch.rank(1).send_signal(signal.SIGTERM)
        begun = time.monotonic()
        ended = launch.until(lambda: not launch.alive(), GRACE_S)
        seconds = time.monotonic() - begun
        end = end_of(launch, 1)
    finally:
        launch.end()
    saved = side.saved(run)
    gone = f"all gone after {seconds:.0f} s" if ended else f"**still there** after {GRACE_S:.0f} s"
    return f"exit {end.code}; {gone}; " + (f"saved at step {saved[-1]}" if saved else "**nothing saved**")


def not_a_number(side: Side) -> str:
    """Rank 1's forward of step 3 of 6 gives NaN."""
    told: dict[str, list[str]] = {}
    for stage, bf16 in ((0, False), (0, True), (1, False), (2, True), (3, False)):
        run = side.root / f"loss-{stage}-{bf16}"
        struck = fault(kind="nan", rank=1, at=3)
        end = side.train(run, steps=6, save_every=6, stage=stage, bf16=bf16, environment=struck)
        if end.code == 0:
            final = side.final(run, 6)
            word = re.search(r"(?i)\bnan\b|overflow|skipping|not finite", end.output)
            words = "weights finite" if final["finite"] else "**weights are NaN**"
            words += f", {final['skipped']} step left out" if final["skipped"] else ", no step left out"
            words += ", and says so" if word else ", **without a word**"
        else:
            words = end.refusal
        told.setdefault(words, []).append(f"ZeRO-{stage} {'bfloat16' if bf16 else 'float32'}")
    return "; ".join(f"{', '.join(where)}: {words}" for words, where in told.items())


def hangs(side: Side) -> str:
    """Rank 1 never comes back from its forward of step 3; with the default limit, and with one of `HANG_S`."""
    told = []
    for name, options in (("default limit", {}), (f"limit {HANG_S:.0f} s", {"hang_s": HANG_S})):
        run = side.root / f"hang-{len(told)}"
        launch = side.launch(run, steps=6, environment=fault(kind="hang", rank=1, at=3), **options)
        told.append(f"{name}: {after_first_step(side, run, launch)}")
    return "; ".join(told)


def stopped(side: Side) -> str:
    """SIGSTOP of rank 1: a process that is there and does nothing, with a limit of `HANG_S`."""
    run = side.root / "stopped"
    launch = side.launch(run, steps=1_000_000, save_every=1_000_000, hang_s=HANG_S)
    if launch.until(lambda: len(side.losses(run)) > 2):
        launch.rank(1).send_signal(signal.SIGSTOP)
    return after_first_step(side, run, launch)


def after_first_step(side: Side, run: Path, launch: Watched) -> str:
    """How a launch ends that has a minute from its first step on."""
    launch.until(lambda: side.losses(run) != [])
    begun = time.monotonic()
    end = end_of(launch, PATIENCE_S)
    if end.code is None:
        return f"**still there** after {PATIENCE_S:.0f} s"
    stacks = len(list(run.glob("stacks/*")))
    told = f"{end.refusal} after {time.monotonic() - begun:.0f} s"
    return told + (f", stacks of {stacks} ranks written" if stacks else "")


def no_memory(side: Side) -> str:
    """From step 3 on, memory suffices for half of a rank's share of the batch."""
    run, plain = side.root / "memory", side.root / "memory-plain"
    options: dict[str, Any] = {"steps": 6, "save_every": 6, "dropout": 0}
    end = side.train(run, environment=fault(kind="memory", rank="all", at=3, rows=4), **options)
    if end.code != 0:
        return end.refusal
    assert side.train(plain, **options).code == 0
    pairs = zip(side.losses(run), side.losses(plain), strict=True)
    far = max(abs(one - other) for (_, one), (_, other) in pairs)
    return f"goes on, losses within {far:.0e} of those with enough memory"


def left_alone(side: Side) -> str:
    """SIGKILL of rank 1 in the middle of a run that nobody looks after."""
    run = side.root / "alone"
    launch = side.look_after(run, steps=side.a_while, save_every=2)
    try:
        assert launch.until(lambda: len(side.losses(run)) > 4), launch.output
        launch.rank(1).kill()
        end = end_of(launch, 3 * LIMIT_S)  # it may have to start twice more
    finally:
        launch.end()
    if end.code == 0:
        steps = f"{len(side.losses(run))} of {side.a_while} steps"
        return f"started again by itself, from step {end.resumed}; exit 0, {steps}"
    return f"{end.refusal}; nobody starts it again"
