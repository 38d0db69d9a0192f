"""The training of launch/finetune.py in memory: no table, no run folder, no test part.

n molecules, t targets, NaN where a label is missing.
    FinetuneConfig, SMILES (n), labels (n, t), a share that validates  ->  FineTuned, Progress
Training keeps its state in a file of its own, which here is a temporary one.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from finetune.config import FinetuneConfig, Pretrained, Task
from finetune.conformal import Calibration
from finetune.data import read_smiles
from finetune.design import design
from finetune.metrics import evaluate, selection
from finetune.model import FineTuned, Member
from finetune.readers import Source, encoded_each_time, encoded_once
from finetune.scaler import Scaler
from finetune.state import Progress
from finetune.train import Examples, fit
from finetune.weights import load_encoder
from pretrain.device import choose_device
from pretrain.encoder import Encoder
from pretrain.smiles import refuse


def train(
    config: FinetuneConfig, smiles: Sequence[str], labels: Float64[NDArray, "n t"], fraction: float
) -> tuple[FineTuned, Progress]:
    """One member, and how its training went. Raises `InvalidSmiles`, or ValueError where the labels are too few."""
    examples = _examples(config, labels, fraction)
    with torch.random.fork_rng(), TemporaryDirectory() as folder:
        encoder = _encoder(config)
        plan = design(config, encoder.model.widths)
        made, rejected = read_smiles(smiles, encoder, plan.fingerprints, plan.views)
        refuse(smiles, rejected)
        regression = config.task == Task.regression
        scaler = Scaler.fit(labels[examples.train]) if regression else Scaler.identity(labels.shape[1])
        member = Member(encoder, plan, scaler, config.seed)
        source = Source(made.molecules, made.fingerprints, member.needs)
        kept = config.freeze and source.bytes(encoder.model.widths) <= 1e9 * config.cache_gb
        read = encoded_once(encoder, source, told=False) if kept else encoded_each_time(encoder, source)
        done = fit(member, read, examples, config, Path(folder) / "state.safetensors", lambda _: None)
        calibration = Calibration(config.task, labels[examples.valid], member.predict(read, examples.valid))
        domain = member.domain(read, made.smiles, examples.train)
    told = {"table": "none: trained from Python", "seed": config.seed}
    if not (config.pretrained == Pretrained.both and config.freeze):
        encoder.config["origin"] = told  # new weights must not pass for those they began as
    return FineTuned([member], told, calibration, domain), done


def _encoder(config: FinetuneConfig) -> Encoder:
    folder, device = Path(config.encoder), choose_device(config.device)
    if config.freeze and config.pretrained == Pretrained.both:
        weights = folder / "model.safetensors"
        encoder = _frozen(folder.resolve(), weights.stat().st_mtime_ns if weights.is_file() else 0)
    else:
        encoder = load_encoder(folder, config.pretrained, config.seed)
    encoder.model.to(device)
    return encoder


@lru_cache(maxsize=2)
def _frozen(folder: Path, written: int) -> Encoder:  # noqa: ARG001  weights that were written since are others
    """One in memory for all that are fitted on it: a search fits a hundred times, and none changes it."""
    return Encoder.load(folder)


def _examples(config: FinetuneConfig, labels: Float64[NDArray, "n t"], fraction: float) -> Examples:
    """A seeded draw of the rows that validate, by class where there is one target; ValueError where they cannot."""
    if len(labels) < 2:
        raise ValueError(
            f"n_samples={len(labels)}: expected one molecule to train and one to validate, at least."
        )
    by_class = config.task == Task.classification and labels.shape[1] == 1
    train, valid = train_test_split(
        np.arange(len(labels)),
        test_size=max(2 if by_class else 1, round(fraction * len(labels))),
        random_state=config.seed,
        stratify=labels if by_class else None,
    )
    unseen = np.isnan(labels[train]).all(axis=0)
    if unseen.any():
        raise ValueError(f"target {int(unseen.argmax())} of y has no label among the molecules that train.")
    metric, truth = selection(config.task, config.metric).metric, labels[valid]
    if evaluate(config.task, truth, np.zeros_like(truth), config.targets)[metric] is None:
        raise ValueError(
            f"{metric}, which chooses the epoch, is not defined on the {len(valid)} molecules that validate: no label, "
            "or one class only. Use a larger validation_fraction."
        )
    return Examples(labels, np.sort(train), np.sort(valid))
