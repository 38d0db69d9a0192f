"""A run's folder: what was asked, where it ran, and what came out, line by line.

    config.yaml  environment.json  metrics.jsonl  evaluation.jsonl  tensorboard/  checkpoints/
Only rank 0 writes. A run that resumes cuts the lines after its checkpoint, so a step stands once.
"""

import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from pretrain.config import PretrainConfig
from sharding.files import write_bytes, write_json

PACKAGES = ("torch", "deepspeed", "torch-geometric", "transformers", "rdkit", "numpy", "tokenizers")


class Record:
    """The open files of a run, on rank 0; elsewhere a mute."""

    def __init__(self, folder: Path, *, enabled: bool) -> None:
        self.folder, self.enabled = folder, enabled
        self._board: Any = None

    def begin(self, config: PretrainConfig, about: dict[str, Any], step: int) -> None:
        """Write configuration and environment; drop the lines after `step`."""
        if not self.enabled:
            return
        (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        text = OmegaConf.to_yaml(OmegaConf.structured(config))
        write_bytes(self.folder / "config.yaml", text.encode())
        write_json(self.folder / "environment.json", environment() | about)
        for name in ("metrics.jsonl", "evaluation.jsonl"):
            file = self.folder / name
            lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
            write_bytes(file, "".join(kept).encode())
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step + 1)

    def write(self, name: str, values: dict[str, Any]) -> None:
        """One line of `<name>.jsonl`, and its numbers to TensorBoard."""
        if not self.enabled:
            return
        with (self.folder / f"{name}.jsonl").open("a") as stream:
            stream.write(json.dumps(values) + "\n")
        for key, value in values.items():
            if key != "step":
                self._board.add_scalar(f"{name}/{key}", value, values["step"])

    def close(self) -> None:
        """Flush TensorBoard."""
        if self._board is not None:
            self._board.close()


def environment() -> dict[str, Any]:
    """Versions, machine and commit, for a reader who wants the same run."""
    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in (*PACKAGES, "molparallax")},
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "cuda": torch.version.cuda if cuda else None,
        "commit": _commit(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
