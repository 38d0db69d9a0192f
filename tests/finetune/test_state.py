"""A fit that was killed goes on where it was, and nothing shows that it was ever interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.config import FinetuneConfig, Fusion, Modality
from finetune.job import finetune
from finetune.run_folder import RunFolder
from sharding.errors import UserError

Configured = Callable[..., FinetuneConfig]
ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """As hard as it can be in one process: nothing that the job could clean up after is run."""


def _finetune_killed_at(config: FinetuneConfig, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until so many epochs are over; the last one's state is written and its line of history is not."""
    write = RunFolder.write_history

    def killed(folder: RunFolder, records: list[dict[str, object]]) -> None:
        if len(records) == lines:
            raise Killed
        write(folder, records)

    monkeypatch.setattr(RunFolder, "write_history", killed)
    with pytest.raises(Killed):
        finetune(config)
    monkeypatch.undo()


def _left(run: str | Path) -> dict[str, bytes]:
    """Every file of a finished run, byte for byte, but for the seconds that it took and where it was."""
    files = {str(path.relative_to(run)): path.read_bytes() for path in Path(run).rglob("*") if path.is_file()}
    metrics = json.loads(files.pop("metrics.json"))
    del metrics["seconds"], files["config.yaml"]
    return files | {"metrics.json": json.dumps(metrics).encode()}


OPTIONS = {
    "two members, frozen": {"members": 2, "epochs": 3, "modalities": [Modality.graph, Modality.fingerprint]},
    "unfrozen": {"freeze": False, "epochs": 3},
}


@pytest.mark.parametrize("case", OPTIONS)
def test_interrupted_is_as_uninterrupted(
    case: str, configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = {"fusion": Fusion.cross_attention, "width": 8, **OPTIONS[case]}
    finetune(configured(**options))
    broken = configured(**options, run=str(tmp_path / "broken"))
    _finetune_killed_at(broken, 2, monkeypatch)
    if broken.members > 1:
        _finetune_killed_at(broken, 4, monkeypatch)  # the first member is complete
    finetune(broken)
    assert _left(broken.run) == _left(tmp_path / "run")


def test_another_job_does_not_go_on_from_it(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _finetune_killed_at(configured(), 2, monkeypatch)
    finetune(configured(learning_rate=5e-3))
    finetune(configured(learning_rate=5e-3, run=str(tmp_path / "new")))
    assert _left(tmp_path / "run") == _left(tmp_path / "new")


def test_a_damaged_state_is_said(configured: Configured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    _finetune_killed_at(configured(), 2, monkeypatch)
    state = tmp_path / "run" / "state" / "member-0.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"member-0.safetensors cannot be read .* Delete it"):
        finetune(configured())


@pytest.mark.slow
def test_a_process_that_was_killed(configured: Configured, tmp_path: Path, four_views: Path, bbbp: Path):
    """SIGKILL from outside, at any moment of the work; the same command then ends as if nothing had been."""
    options = {
        "encoder": four_views, "table": bbbp, "targets": "[p_np]", "task": "classification", "split": "random",
        "freeze": "false", "epochs": 4, "hidden": 16, "device": "cpu",
    }  # fmt: skip

    def start(run: str) -> subprocess.Popen[bytes]:
        given = [f"{name}={value}" for name, value in options.items()]
        command = [sys.executable, str(ROOT / "launch" / "finetune.py"), *given, f"run={tmp_path / run}"]
        return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)

    whole = start("whole")
    assert whole.communicate()[0] and whole.returncode == 0
    history = tmp_path / "killed" / "history.jsonl"
    for lines in (1, 3):
        process = start("killed")
        while not history.is_file() or history.read_bytes().count(b"\n") < lines:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    last = start("killed")
    assert last.communicate()[0] and last.returncode == 0
    assert _left(tmp_path / "killed") == _left(tmp_path / "whole")
