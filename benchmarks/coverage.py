"""How often intervals and sets hold the truth, on molecules that the model has never met, of real sets.

    OMP_NUM_THREADS=1 python -m benchmarks.coverage --data FOLDER --encoder runs/encoder --write

A set, a level  ->  share of the test part's labels that are inside their interval (regression) or set (classification,
each class by itself), over all seeds together. Random split, another one for each seed, because the promise holds for
molecules like those of the validation part (finetune/conformal.py); fingerprints alone, because the promise does not
depend on the model and fingerprints train quickly. `FOLDER` holds MoleculeNet's CSVs, see docs/evaluation.md.
"""

import argparse
import csv
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.circumstances import circumstances
from finetune.config import FinetuneConfig, Modality, SplitKind, Task
from finetune.job import finetune
from finetune.model import FineTuned
from finetune.tasks import predicted_name, read_label

RESULTS = Path(__file__).parent / "results" / "coverage.md"
LEVELS = (0.8, 0.9)


class Inside(NamedTuple):
    """Test molecules of one seed, of one kind."""

    what: str
    """`all` labels, or those of one class."""
    level: float
    held: int
    of: int


def covered(config: FinetuneConfig) -> Iterator[Inside]:
    """Fit, and count what the test part's intervals or sets hold."""
    finetune(config)
    run = Path(config.run)
    model = FineTuned.load(run)
    with (run / "predictions.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    task, targets = model.design.task, model.design.targets
    truth = np.array([[read_label(row[name], task, "") for name in targets] for row in rows])
    predicted = np.array([[float(row[predicted_name(name)]) for name in targets] for row in rows])
    assert model.calibration is not None
    for level in LEVELS:
        if task == Task.regression:
            low, high = model.calibration.interval(predicted, level)
            known = ~np.isnan(truth)
            held = known & (low <= truth) & (truth <= high)
            yield Inside("all", level, int(held.sum()), int(known.sum()))
            continue
        sets = model.calibration.classes(predicted, level)
        for label in (0, 1):
            own = truth == label
            yield Inside(f"class {label}", level, int((sets[..., label] & own).sum()), int(own.sum()))


def main() -> None:
    """Fit each set with each seed, print the table, and keep it if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of MoleculeNet's CSVs")
    parser.add_argument("--encoder", required=True, help="encoder folder; its weights are not read")
    parser.add_argument("--sets", nargs="+", default=["esol", "freesolv", "bbbp", "bace"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    given = parser.parse_args()
    lines = [
        "| set | labels | level | inside | labels counted | off by, points |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for dataset in given.sets:
        found: dict[tuple[str, float], list[Inside]] = {}
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as scratch:
                config = FinetuneConfig(
                    encoder=given.encoder,
                    table=given.data,
                    dataset=dataset,
                    run=str(Path(scratch) / "run"),
                    modalities=[Modality.fingerprint],
                    split=SplitKind.random,
                    split_seed=seed,
                    seed=seed,
                )
                for inside in covered(config):
                    found.setdefault((inside.what, inside.level), []).append(inside)
        for (what, level), seeds in found.items():
            held, of = sum(one.held for one in seeds), sum(one.of for one in seeds)
            lines.append(
                f"| {dataset} | {what} | {level:.0%} | {held / of:.1%} | {of:,} | {100 * (held / of - level):+.1f} |"
            )
    heading = circumstances(
        "coverage",
        f"{os.cpu_count()} cores, one used",
        f"random split 8:1:1, {given.seeds} seeds, each another split; fingerprints alone",
    )
    report = "\n".join(["# Coverage of conformal intervals and sets", "", heading, "", *lines, ""])
    print(report)
    if given.write:
        RESULTS.write_text(report)


if __name__ == "__main__":
    main()
