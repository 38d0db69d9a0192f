"""The folder of a fine-tuning run: what it may hold before, what it holds after.

config.yaml       the resolved configuration; its first line marks the folder as a run of this kind
split.json        rows of each part
history.jsonl     one record an epoch, as they end
state/            what an unfinished run goes on from, see finetune/state.py; gone when it is finished
model/            what launch/predict.py reads
predictions.csv   the table's rows in order
metrics.json      written last: a run that has one is finished
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from finetune.config import FinetuneConfig
from finetune.split import Split
from sharding.errors import UserError
from sharding.files import write_bytes, write_json

MARK = "# molparallax fine-tuning run: python launch/finetune.py with"


class RunFolder:
    """Checked when made, changed when begun."""

    def __init__(self, root: Path, *, overwrite: bool) -> None:
        """Raises `UserError` for a folder that is not ours to write in. Touches nothing."""
        self.root = root
        if root.exists() and not root.is_dir():
            raise UserError(f"run={root} is a file. Give a new folder.")
        if not root.is_dir() or not any(root.iterdir()):
            return
        config = root / "config.yaml"
        if not config.is_file() or not config.read_text(errors="replace").startswith(MARK):
            raise UserError(f"run={root} holds something else than a fine-tuning run. Give a new folder.")
        if self.metrics.is_file() and not overwrite:
            raise UserError(f"run={root} holds a finished run. Give a new folder, or overwrite=true.")

    @property
    def metrics(self) -> Path:
        """The scores."""
        return self.root / "metrics.json"

    @property
    def predictions(self) -> Path:
        """The table with predictions."""
        return self.root / "predictions.csv"

    @property
    def model(self) -> Path:
        """The model to predict with."""
        return self.root / "model"

    def state(self, member: int) -> Path:
        """Where a member's fit stands."""
        return self.root / "state" / f"member-{member}.safetensors"

    def begin(self, config: FinetuneConfig, split: Split, identity: str) -> None:
        """Clear what an earlier run left, and write what is known before training.

        The state of an unfinished run stays if its `identity` is this one's.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"run={self.root} cannot be made ({error.strerror}). Give another folder."
            ) from error
        told = self.root / "state" / "identity"
        if self.metrics.is_file() or not told.is_file() or told.read_text() != identity:
            self.end()
        self.metrics.unlink(missing_ok=True)  # first: without it the rest is an unfinished run's
        self.predictions.unlink(missing_ok=True)
        if self.model.is_dir():
            shutil.rmtree(self.model)
        text = f"{MARK}\n{OmegaConf.to_yaml(OmegaConf.structured(config))}"
        write_bytes(self.root / "config.yaml", text.encode())
        write_json(self.root / "split.json", split.parts)
        self.write_history([])
        write_bytes(told, identity.encode())

    def write_history(self, records: Sequence[dict[str, Any]]) -> None:
        """All lines of history.jsonl."""
        write_bytes(
            self.root / "history.jsonl", "".join(f"{json.dumps(record)}\n" for record in records).encode()
        )

    def end(self) -> None:
        """Forget what an unfinished run goes on from."""
        shutil.rmtree(self.root / "state", ignore_errors=True)
