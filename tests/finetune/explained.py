"""A model to explain: random weights explain as well as learned ones, and cost nothing."""

from pathlib import Path

import numpy as np

from finetune.config import FinetuneConfig, Task
from finetune.design import design
from finetune.model import FineTuned, Member
from finetune.scaler import Scaler
from pretrain.encoder import Encoder

SCALE = 2.5


def untrained(encoder: Path, members: int = 1, **options) -> FineTuned:
    """Of this encoder, with these options of fine-tuning; labels have the deviation `SCALE`."""
    given = {
        "encoder": str(encoder), "table": "", "run": "", "targets": ["y"], "task": Task.regression,
        "hidden": 16, "width": 16, "heads": 2, **options,
    }  # fmt: skip
    opened = Encoder.load(encoder)
    plan = design(FinetuneConfig(**given), opened.model.widths)
    scaler = Scaler(np.full(len(plan.targets), 1.0), np.full(len(plan.targets), SCALE))
    return FineTuned([Member(opened, plan, scaler, seed) for seed in range(members)], {})
