"""mode=check: what it says of runs that would work and of those that would not, and that it leaves nothing behind."""

import math
import re
import shutil
from pathlib import Path

import pytest

from pretrain.check.forecast import most_checkpoints, times
from pretrain.checkpoint.publish import outdated
from pretrain.config import TrainConfig
from sharding.manifest import load_manifest
from tests.distributed import run_ranks
from tests.pretrain import checks
from tests.pretrain.conftest import TINY

SUBJECTS = (
    "options", "shards", "blocks", "order", "gallery", "device", "parameters", "run", "step", "memory", "evaluation",
    "checkpoint", "loader", "duration", "disk",
)  # fmt: skip


def _command(data: Path, run: Path, *more: str) -> list[str]:
    """A short run at toy width."""
    tiny = [f"model.{name}={value}" for name, value in (TINY | {"text_layers": 1}).items()]
    train = ("batch=16", "lanes=4", "warmup_steps=2", "head_start=64", "steps=300", "save_every=100")
    given = [*tiny, *(f"train.{each}" for each in train), "evaluation.held_out=32", *more]
    return [f"data={data}", f"run={run}", *given]


def _lines(said: str) -> dict[str, tuple[str, str]]:
    """(mark, text) by subject."""
    found = (re.fullmatch(r"(ok|note|problem) +(\w+) +(.*)", line) for line in said.splitlines())
    return {match.group(2): (match.group(1), match.group(3)) for match in found if match}


def _content(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


@pytest.fixture(scope="module")
def told(shards_folder, tmp_path_factory):
    """What one process says of several runs; one of them has begun, and is the same afterwards."""
    folder = tmp_path_factory.mktemp("check")
    torn = shutil.copytree(shards_folder, folder / "torn")
    shard = torn / load_manifest(torn)["shards"][0]["file"]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    lost = shutil.copytree(shards_folder, folder / "lost")
    (lost / load_manifest(lost)["shards"][0]["file"]).unlink()
    begun = folder / "begun"
    run_ranks(checks.doors, 1, folder, [_command(shards_folder, begun, "train.steps=2")])
    before, there = _content(begun), sorted(path.name for path in folder.iterdir())
    endless = ["train.steps=1000000000", "train.save_every=1", "train.keep=1000000000"]
    commands = {
        "begun": _command(shards_folder, begun),
        "bad": _command(
            shards_folder, folder / "new", *endless, "train.learning_rate=1e30", "train.warmup_steps=0"
        ),
        "torn": _command(torn, folder / "new"),
        "lost": _command(lost, folder / "new"),
        "other": _command(shards_folder, begun, "model.projection=8"),
        "thirst": _command(shards_folder, folder / "new", "train.batch=6000"),
    }
    found = run_ranks(checks.doors, 1, folder, [[*command, "mode=check"] for command in commands.values()])[0]
    left = {path.name for path in folder.iterdir()} - set(there) - {p.name for p in folder.glob("ranks-*")}
    return dict(zip(commands, found, strict=True)), before == _content(begun), left


def test_a_run_that_has_begun_goes_on(told):
    code, said = told[0]["begun"]
    lines = _lines(said)
    assert code == 0 and said.splitlines()[-1] == "this run would work here"
    assert tuple(lines) == SUBJECTS
    assert all(mark in ("ok", "note") for mark, _ in lines.values())
    assert lines["run"][1].endswith("goes on from step 2")
    assert "train.batch=16" in lines["options"][1] and "mode=" not in lines["options"][1]
    assert lines["shards"][1].startswith("600 molecules in")
    assert "32 held-out molecules, chance of recall@1 is 3.12%" in lines["gallery"][1]
    loss, chance = re.search(r"loss ([\d.]+), chance ([\d.]+)", lines["step"][1]).groups()
    assert float(loss) > 0 and float(chance) == pytest.approx(math.log(31), abs=1e-3)
    assert lines["checkpoint"][1].endswith("every bit is back")
    assert "298 steps" in lines["duration"][1] and "3 checkpoints" in lines["duration"][1]
    assert "at most 4 checkpoints" in lines["disk"][1]


def test_nothing_is_left_behind(told):
    _, same, left = told
    assert same and not left


def test_numbers_that_go_wrong_and_a_disk_that_is_too_small_are_problems(told):
    code, said = told[0]["bad"]
    lines = _lines(said)
    assert code == 1 and said.splitlines()[-1] == "2 problems"
    assert (
        lines["step"][0] == "problem"
        and "the loss is not finite. Lower train.learning_rate" in lines["step"][1]
    )
    assert lines["disk"][0] == "problem" and "Lower train.keep" in lines["disk"][1]
    assert lines["run"][1].endswith("begins at step 0")


@pytest.mark.parametrize(
    ("which", "subject", "what"), [("torn", "blocks", "damaged"), ("lost", "shards", "missing")]
)
def test_broken_shards_are_problems_and_nothing_else_is_tried(told, which, subject, what):
    code, said = told[0][which]
    lines = _lines(said)
    assert code == 1 and lines[subject][0] == "problem" and what in lines[subject][1]
    assert said.splitlines()[-1] == "1 problem"
    assert "step" not in lines


@pytest.mark.parametrize(
    ("which", "what"), [("other", "model.projection: 16, now 8"), ("thirst", "no step of 6000")]
)
def test_mistakes_of_the_user_are_one_line(told, which, what):
    code, said = told[0][which]
    assert code == 2 and what in said
    assert sum(line.startswith("error: ") for line in said.splitlines()) == 1


@pytest.mark.parametrize(
    ("world", "options"),
    [
        (2, ["train.zero_stage=2", "loss.learn_temperature=true"]),
        pytest.param(2, ["train.zero_stage=3", "train.precision=bfloat16"], marks=pytest.mark.slow),
        pytest.param(2, ["train.zero_stage=0", "train.chunk=3"], marks=pytest.mark.slow),
    ],
)
def test_ranks_together(world, options, shards_folder, tmp_path):
    command = [*_command(shards_folder, tmp_path / "runs" / "new", *options), "mode=check"]
    (first, said), *others = [found[0] for found in run_ranks(checks.doors, world, tmp_path, [command])]
    assert first == 0, said
    assert tuple(_lines(said)) == SUBJECTS
    assert f"{world} ranks" in _lines(said)["device"][1]
    assert all(code == 0 and not _lines(text) for code, text in others)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("steps", "every", "keep", "keep_every"), [(10, 3, 2, 0), (12, 3, 2, 6), (7, 1, 99, 2), (5, 9, 1, 0)]
)
def test_the_forecast_of_disk_covers_what_a_run_keeps(steps, every, keep, keep_every):
    """Replayed with the saver's own rule."""
    train = TrainConfig(steps=steps, save_every=every, keep=keep, keep_every=keep_every)
    saves = [step for step in range(1, steps + 1) if step % every == 0 or step == steps]
    assert times(train, every, 0) == len(saves)
    assert times(train, every, 4) == sum(step > 4 for step in saves)
    there, most = [], 0
    for step in saves:
        most = max(most, len(there) + 1)
        there.append(step)
        there = [old for old in there if old not in outdated(there, step, keep, keep_every)]
    assert most <= most_checkpoints(train) <= len(saves) + 1
