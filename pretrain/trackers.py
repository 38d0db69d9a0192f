"""Where a run's numbers go beside its own files: TensorBoard always, Weights & Biases when it is asked for.

    name ("metrics"), step, numbers  ->  a curve each, as `metrics/loss`
    name, step, bins and counts      ->  a histogram
Weights & Biases gets the numbers and the redacted configuration; not the command, the code, the machine's name or
what is printed, which its library would collect; it does watch how busy the devices are. It has its own steps,
which never go back: curves are drawn over ours.
"""

import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from sharding.errors import UserError


class Tracker(Protocol):
    """A place that numbers go to."""

    def numbers(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """A point on each curve."""

    def histogram(self, name: str, step: int, edges: Sequence[float], counts: Sequence[int]) -> None:
        """(b + 1) edges and (b) counts."""

    def close(self) -> None:
        """Hand on what is still here."""


class TensorBoard:
    """Event files in a folder. Those after the step of a resume are hidden by its first event."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # flushed often: what a killed run had not flushed is missing from its curves for good
        self.writer = SummaryWriter(str(folder), purge_step=step + 1 if step else 0, flush_secs=10)

    def numbers(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """A point on each curve."""
        for key, value in values.items():
            self.writer.add_scalar(f"{name}/{key}", value, step)

    def histogram(self, name: str, step: int, edges: Sequence[float], counts: Sequence[int]) -> None:
        """Sums are taken at the middles of the bins: the values themselves are gone."""
        middles = [(low + high) / 2 for low, high in pairwise(edges)]
        pairs = list(zip(middles, counts, strict=True))
        self.writer.add_histogram_raw(
            name,
            min=edges[0],
            max=edges[-1],
            num=sum(counts),
            sum=math.fsum(middle * count for middle, count in pairs),
            sum_squares=math.fsum(middle * middle * count for middle, count in pairs),
            bucket_limits=list(edges[1:]),
            bucket_counts=list(counts),
            global_step=step,
        )

    def close(self) -> None:
        """Flush and close."""
        self.writer.close()


class WeightsAndBiases:
    """A run of a project. WANDB_MODE=offline keeps it in the run folder, under wandb/."""

    def __init__(self, project: str, folder: Path, identity: str, config: dict[str, Any]) -> None:
        wandb: Any = import_module("wandb")  # by name: it is no dependency
        private = wandb.Settings(
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
        )
        try:
            self.run = wandb.init(
                project=project,
                name=folder.name,
                id=identity,
                resume="allow",
                dir=str(folder),
                config=config,
                settings=private,
            )
        except wandb.Error as error:
            raise UserError(
                f"wandb={project}: Weights & Biases did not start ({str(error).splitlines()[0]}). Log in with "
                "`wandb login`, set WANDB_MODE=offline, or leave wandb empty."
            ) from error
        self.histogram_of = wandb.Histogram
        self.run.define_metric("*", step_metric="step")

    def numbers(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """A point on each curve."""
        self.run.log({"step": step} | {f"{name}/{key}": value for key, value in values.items()})

    def histogram(self, name: str, step: int, edges: Sequence[float], counts: Sequence[int]) -> None:
        """As it was counted."""
        counted = self.histogram_of(np_histogram=(list(counts), list(edges)))
        self.run.log({"step": step, name: counted})

    def close(self) -> None:
        """Wait until it is sent, or in offline mode written."""
        self.run.finish()


def check_trackers(project: str) -> None:
    """Raise `UserError` when Weights & Biases is asked for and not installed."""
    found = find_spec("wandb")
    # without an origin it is a mere folder: the library leaves one named wandb wherever a run began
    if project and (found is None or found.origin is None):
        raise UserError(
            f"wandb={project} needs Weights & Biases, which is not installed: pip install wandb. Without it, "
            "leave wandb empty: the numbers are in the run folder and in its tensorboard/ all the same."
        )
