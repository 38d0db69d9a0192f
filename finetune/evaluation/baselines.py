"""What anybody has, on the same molecules and the same split: the table's other rows.

n molecules, t targets.
    Prepared, seed  ->  predictions (n, t): original units, or the probability of class 1

ECFP with a random forest: Morgan fingerprints (Rogers and Hahn 2010; radius 2, 2,048 bits, no chirality), 500
trees a target of scikit-learn's defaults, fitted to the target's observed labels of the training part alone: the
validation part is not used. A target of one class in training is answered with it.

chemprop (Heid et al. 2024) by its own command line, defaults, 50 epochs, on our split through its splits file. It
chooses the epoch on our validation part. It is not installed with us.
"""

import csv
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

from finetune.config import Task
from finetune.evaluation.config import Baseline
from finetune.job import Prepared
from finetune.tasks import write_table
from sharding.errors import UserError

TREES, RADIUS, BITS = 500, 2, 2048
CHEMPROP_EPOCHS = 50
COMMAND = "from chemprop.cli.main import main; main()"
"""The module runs nothing by itself, and the installed script may be another interpreter's."""
Answers = Float64[NDArray, "n t"]


def ecfp_forest(data: Prepared, task: Task, seed: int) -> Answers:
    """Predictions of every molecule."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    generator = GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    prints = np.stack([generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(text)) for text in data.smiles])
    train, answers = data.places["train"], np.empty_like(data.labels)
    for place, labels in enumerate(data.labels.T):
        rows = train[~np.isnan(labels[train])]
        if task is Task.regression:
            forest = RandomForestRegressor(TREES, random_state=seed).fit(prints[rows], labels[rows])
            answers[:, place] = forest.predict(prints)
            continue
        classifier = RandomForestClassifier(TREES, random_state=seed).fit(prints[rows], labels[rows])
        column = np.flatnonzero(classifier.classes_ == 1)
        answers[:, place] = classifier.predict_proba(prints)[:, column[0]] if len(column) else 0.0
    return answers


def chemprop(data: Prepared, task: Task, seed: int) -> Answers:
    """The same by chemprop's command line; raises `UserError` where it is not installed or fails."""
    check_chemprop()
    targets = [f"target_{place}" for place in range(data.labels.shape[1])]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = (
            [smiles, *("" if np.isnan(value) else repr(float(value)) for value in labels)]
            for smiles, labels in zip(data.smiles, data.labels, strict=True)
        )
        write_table(folder / "table.csv", ["smiles", *targets], rows)
        names = {"train": "train", "valid": "val", "test": "test"}
        parts = {names[part]: places.tolist() for part, places in data.places.items()}
        (folder / "splits.json").write_text(json.dumps([parts]))
        _chemprop(
            "train", "--data-path", "table.csv", "--splits-file", "splits.json", "--output-dir", "model",
            "--smiles-columns", "smiles", "--target-columns", *targets, "--task-type", task.value,
            "--epochs", str(CHEMPROP_EPOCHS), "--pytorch-seed", str(seed), "--num-workers", "0", cwd=folder,
        )  # fmt: skip
        _chemprop(
            "predict", "--test-path", "table.csv", "--smiles-columns", "smiles", "--model-paths", "model",
            "--preds-path", "predicted.csv", "--num-workers", "0", cwd=folder,
        )  # fmt: skip
        with (folder / "predicted.csv").open(newline="") as stream:
            return np.array([[float(row[target]) for target in targets] for row in csv.DictReader(stream)])


def check_chemprop() -> None:
    """Raise `UserError` unless it can be imported."""
    if importlib.util.find_spec("chemprop") is None:
        raise UserError(
            "baselines=[chemprop] needs chemprop, which is not installed: pip install chemprop, or leave it out."
        )


def _chemprop(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=cwd,
        # it loads its best epoch from its own folder, whole objects, which torch refuses by default since 2.6
        env={**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["-"])[-1]
        raise UserError(f"chemprop {arguments[0]} failed with exit code {done.returncode}: {last}")


BASELINES: dict[Baseline, Callable[[Prepared, Task, int], Answers]] = {
    Baseline.ecfp_forest: ecfp_forest,
    Baseline.chemprop: chemprop,
}
