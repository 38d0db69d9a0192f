"""What a fit must remember to go on where it was: one file, whole or absent, no pickle.

    state/member-<i>.safetensors     weights now and of the best epoch, AdamW's moments, random generators;
                                     in its metadata, as JSON: epoch, best epoch and score, records so far
On a CPU a fit that was killed and went on gives the weights of one that was not, bit for bit. A GPU adds up
scattered gradients in no fixed order, with or without an interruption.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from sharding.errors import UserError
from sharding.files import write_bytes


@dataclass
class Progress:
    """Where a fit is. `best_score` counts higher as better, whatever the metric."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = float("-inf")
    records: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Memory:
    """The changing parts of one member's fit, in one place."""

    trained: nn.Module
    optimizer: torch.optim.Optimizer
    shuffles: torch.Generator
    progress: Progress = field(default_factory=Progress)
    best: dict[str, Tensor] = field(default_factory=dict)
    """The best epoch's weights, by name."""

    def see(self, epoch: int, score: float) -> None:
        """Copy the weights if this is the best score so far; of equal ones the first stays."""
        self.progress.epoch = epoch
        if score > self.progress.best_score:
            self.progress.best_epoch, self.progress.best_score = epoch, score
            self.best = {name: weight.clone() for name, weight in self.trained.state_dict().items()}

    def restore_best(self) -> None:
        """Put the best epoch's weights back."""
        self.trained.load_state_dict(self.best)

    def write(self, file: Path) -> None:
        """Everything, whole or absent."""
        tensors = {f"now.{name}": weight for name, weight in self.trained.state_dict().items()}
        tensors |= {f"best.{name}": weight for name, weight in self.best.items()}
        for place, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{place}.{name}": value for name, value in moments.items()}
        tensors |= {f"random.{name}": state for name, state in self._drawn().items()}
        told = {"progress": json.dumps(asdict(self.progress))}
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_bytes(file, save(kept, metadata=told))

    def read(self, file: Path) -> None:
        """The inverse of `write`; leaves everything as it is when there is no file."""
        if not file.is_file():
            return
        try:
            tensors = load_file(file)
            with safe_open(file, "pt") as opened:
                self.progress = Progress(**json.loads(opened.metadata()["progress"]))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{file} cannot be read ({error}). Delete it; that member starts again."
            ) from error
        part: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            room, _, rest = name.partition(".")
            part.setdefault(room, {})[rest] = tensor
        self.trained.load_state_dict(part["now"])
        device = next(self.trained.parameters()).device
        self.best = {name: weight.to(device) for name, weight in part["best"].items()}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in part.get("optimizer", {}).items():
            place, _, which = name.partition(".")
            moments.setdefault(int(place), {})[which] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self._draw_on(part["random"])

    def _drawn(self) -> dict[str, Tensor]:
        """The state of every generator that a fit draws from."""
        found = {"dropout": torch.get_rng_state(), "shuffles": self.shuffles.get_state()}
        return found | ({"cuda": torch.cuda.get_rng_state()} if self._on_gpu() else {})

    def _draw_on(self, states: dict[str, Tensor]) -> None:
        torch.set_rng_state(states["dropout"])
        self.shuffles.set_state(states["shuffles"])
        if self._on_gpu():
            torch.cuda.set_rng_state(states["cuda"])

    def _on_gpu(self) -> bool:
        return next(self.trained.parameters()).is_cuda
