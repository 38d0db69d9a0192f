"""What a demo has done: `stages.json`, so that a resumed one skips what is complete and keeps its times.

    {"machine": {cores, gpus}, "stages": {stage: seconds},
     "commands": {name: {stage, shown, options, seconds}}}
A command is written down when it has succeeded. A stage's seconds add up over interrupted attempts.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from sharding.errors import UserError
from sharding.files import read_json, write_json


class Machine(TypedDict):
    """What times depend on, and nothing that names the machine."""

    cores: int
    gpus: list[str]


def this_machine() -> Machine:
    """Cores that this process may use, and the kind of each GPU."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"cores": cores, "gpus": gpus}


@dataclass(frozen=True, kw_only=True)
class Command:
    """One doorway, as a user would type it."""

    stage: str
    name: str
    """Unique; names the log."""
    shown: str
    """The line for a shell."""
    words: list[str]
    """What is run."""
    environment: dict[str, str]
    options: list[str]
    """The doorway's own options: what must not change when a demo goes on."""
    product: Path
    """A file that the command leaves."""
    product_last: bool
    """Whether the product, there without a record of success, still shows that the command was complete."""


class Journal:
    """The file, and questions to it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "stages.json"
        self.content: dict[str, Any] = {"stages": {}, "commands": {}}

    @classmethod
    def open(cls, folder: Path) -> "Journal":
        """The journal of a demo's folder. Raises `UserError` where there is none."""
        journal = cls(folder)
        if not journal.file.is_file():
            raise UserError(
                f"{folder} holds no demo (no stages.json). Run launch/demo.py output={folder} first."
            )
        try:
            journal.content = read_json(journal.file)
        except ValueError as error:
            raise UserError(f"{journal.file} is not JSON ({error}). Give a new output=...") from error
        return journal

    @classmethod
    def begin(cls, folder: Path, machine: Machine) -> "Journal":
        """Open, or start in a new or empty folder. Raises `UserError` when it holds something else."""
        if folder.exists() and not folder.is_dir():
            raise UserError(f"output={folder} is a file. Give a folder.")
        if (folder / "stages.json").is_file():
            return cls.open(folder)
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"output={folder} holds something else than a demo. Give a new folder.")
        journal = cls(folder)
        journal.content["machine"] = machine
        journal.save()
        return journal

    def save(self) -> None:
        """Write the file, whole."""
        write_json(self.file, self.content)

    def check(self, commands: Iterable[Command]) -> None:
        """Raise `UserError` when the demo in this folder was run with other options than these commands'."""
        for command in commands:
            recorded = self.content["commands"].get(command.name, {}).get("options", command.options)
            if recorded != command.options:
                before = " ".join(option for option in recorded if option not in command.options)
                now = " ".join(option for option in command.options if option not in recorded)
                raise UserError(
                    f"{self.folder} holds a demo with other options ({command.stage}: {before or 'none'}, "
                    f"now {now or 'none'}). Give a new output=..., or its options."
                )

    def complete(self, command: Command) -> bool:
        """Whether the command need not run (again)."""
        recorded = command.name in self.content["commands"]
        return command.product.is_file() and (recorded or command.product_last)

    def record(self, command: Command, seconds: float) -> None:
        """The command has succeeded."""
        self.content["commands"][command.name] = {
            "stage": command.stage,
            "shown": command.shown,
            "options": command.options,
            "seconds": round(seconds, 1),
        }
        self.save()

    def spent(self, stage: str, seconds: float) -> None:
        """Add wall time to a stage."""
        stages = self.content["stages"]
        stages[stage] = round(stages.get(stage, 0.0) + seconds, 1)
        self.save()
