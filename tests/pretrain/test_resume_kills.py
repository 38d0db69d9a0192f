"""SIGKILL at random moments: nothing that was published is lost or broken, and a run is one that never stopped."""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from pretrain import checkpoint
from pretrain.checkpoint.restore import contents
from tests.pretrain import checkpoint_ranks as ranks
from tests.pretrain.ranks import config

KILLS_IN_SAVES = 100
"""With each way of saving, counted only where the kill met a save that was not published yet."""
KILLS_OF_RUN = 20
LEAVES_S = 30
"""Within which a rank must leave when the other has died."""


def processes():
    """Forked from a server that has imported everything, each a process of its own."""
    multiprocessing.set_forkserver_preload(["pretrain.train", "deepspeed"])
    return multiprocessing.get_context("forkserver")


@pytest.mark.slow
@pytest.mark.parametrize("background", [False, True])
def test_a_rank_killed_inside_a_save_breaks_nothing(background, tmp_path):
    """Each trial begins by loading what the one before left, on both ranks, and ends with a kill in a save."""
    context, folder, draw = processes(), tmp_path / "checkpoints", random.Random(7)
    folder.mkdir()
    spans, outcomes = [0.05], Counter()
    while outcomes["inside"] < KILLS_IN_SAVES:
        assert outcomes.total() < 4 * KILLS_IN_SAVES, f"too few kills met a save: {outcomes}"
        before = checkpoint.newest(folder) or 0
        meeting, victim = str(tmp_path / f"meeting-{outcomes.total()}"), draw.randrange(2)
        ends = [context.Pipe(duplex=False) for _ in range(2)]
        pair = [
            context.Process(
                target=ranks.save_until_killed, args=(rank, meeting, str(folder), background, ends[rank][1])
            )
            for rank in range(2)
        ]
        for rank, process in enumerate(pair):
            process.start()
            ends[rank][1].close()
        told = [
            until(ends[victim][0], "loaded"),
            *(until(ends[victim][0], "begin") for _ in range(draw.randint(1, 3))),
        ]
        assert told[0][1] == before
        time.sleep(draw.uniform(0, 1.2 * sorted(spans)[len(spans) // 2]))
        os.kill(pair[victim].pid, signal.SIGKILL)
        for process in pair:
            process.join(LEAVES_S)
            assert process.exitcode is not None, "the other rank hangs"
        lines = [*told, *(line for end in ends for line in rest(end[0]))]
        begun = max(step for what, step, _ in lines if what == "begin")
        published = max((step for what, step, _ in lines if what == "published"), default=before)
        left = checkpoint.newest(folder) or 0
        assert max(published, begun - 1) <= left <= begun, (before, begun, published, left)
        assert [checkpoint.damage(folder / f"step-{step}") for step in checkpoint.steps(folder)] == [
            None
        ] * len(checkpoint.steps(folder))
        spans += durations(lines)
        outcomes["inside" if published < begun else "between"] += 1
    print(f"background={background}: {dict(outcomes)}, {sum(spans) / len(spans) * 1000:.1f} ms a save")


def until(end: Connection, what: str) -> Any:
    """The next message of this kind."""
    while True:
        assert end.poll(120), f"no '{what}' for two minutes"
        message = end.recv()
        if message[0] == what:
            return message


def rest(end: Connection) -> list[Any]:
    """What a process said before it ended."""
    found = []
    try:
        while end.poll():
            found.append(end.recv())
    except (EOFError, OSError):  # its last message may be torn
        pass
    return found


def durations(lines: list[Any]) -> list[float]:
    """Seconds from `begin` to `published` of one step."""
    begun = {step: at for what, step, at in lines if what == "begin"}
    return [at - begun[step] for what, step, at in lines if what == "published" and step in begun]


@pytest.mark.slow
def test_a_run_killed_twenty_times_is_the_run_that_never_stopped(shards_folder, tmp_path):
    """Float32 on the CPU, dropout on, saved every second step: molecules, losses, weights and moments are the same."""
    context, draw = processes(), random.Random(11)
    steps = 2 * KILLS_OF_RUN + 4

    def life(name: str, background: bool) -> Any:
        options = config(
            str(shards_folder),
            str(tmp_path / name),
            {"dropout": 0.1},
            steps=steps,
            save_every=2,
            evaluate_every=steps,
            background_save=background,
        )
        process = context.Process(target=ranks.noted_run, args=(options, str(tmp_path / f"{name}.jsonl")))
        process.start()
        return process

    straight = life("straight", False)
    straight.join()
    assert straight.exitcode == 0
    for kill in range(KILLS_OF_RUN):
        process, log = life("killed", kill % 2 == 1), tmp_path / "killed.jsonl"
        seen = len(log.read_text().splitlines()) if log.is_file() else 0
        wanted = seen + draw.randint(1, 4)  # a step that was saved before the last kill is not done again
        while process.is_alive() and not (log.is_file() and len(log.read_text().splitlines()) >= wanted):
            process.join(0.002)
        time.sleep(draw.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    last = life("killed", False)
    last.join()
    assert last.exitcode == 0

    expected, found = noted(tmp_path / "straight.jsonl"), noted(tmp_path / "killed.jsonl")
    assert [step for step, _ in expected] == list(range(1, steps + 1))
    molecules = dict(expected)
    assert {step for step, _ in found} == set(molecules)
    assert len(found) > len(expected)  # some steps were done again
    assert all(molecules[step] == ids for step, ids in found)
    assert losses(tmp_path / "killed") == losses(tmp_path / "straight")
    assert digest(tmp_path / "killed", steps) == digest(tmp_path / "straight", steps)


def noted(log: Path) -> list[tuple[int, list[int]]]:
    """Each step that was begun and its molecules; a kill may have torn the line that it met."""
    whole = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [tuple(json.loads(line)) for line in whole]


def losses(run: Path) -> dict[int, float]:
    """By step, each once."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len({line["step"] for line in lines}) == len(lines)
    return {line["step"]: line["loss"] for line in lines}


def digest(run: Path, step: int) -> str:
    """SHA-256 over weights and moments."""
    sha256 = hashlib.sha256()
    for kind, tensors in contents(run / "checkpoints" / f"step-{step}").items():
        for name, tensor in sorted(tensors.items()):
            sha256.update(f"{kind}/{name}".encode() + tensor.numpy().tobytes())
    return sha256.hexdigest()
