"""Molecules a second of launch/predict.py, what each step costs, and the memory that it takes at most.

    OMP_NUM_THREADS=1 python -m benchmarks.predict --write                                      under four minutes
    OMP_NUM_THREADS=1 python -m benchmarks.predict --cases graph --rows 16384 1000000 --write   a long file

Random weights, a domain of 4,096 molecules, intervals and domain on, a CSV in and a CSV out; rows beyond the file's
repeat it. First the steps: pieces of molecules go through each step in turn, so a busy machine slows all of them, and
a ratio is between medians over the pieces of one run. Then whole runs of the first case, each in a process of its own
after a short one that fills its tables: CPU time of one process, and the highest resident set that the kernel saw
(getrusage). Prediction holds 4,096 rows at a time, so memory is flat when the longer run takes no more.
"""

import argparse
import csv
import gzip
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
import yaml

from benchmarks.circumstances import circumstances
from finetune.answered import answered
from finetune.applicability import MOST, Domain
from finetune.config import FinetuneConfig, Fusion, Modality, PredictConfig, Task
from finetune.conformal import Calibration
from finetune.design import design
from finetune.library import Piece
from finetune.model import FineTuned, Member
from finetune.predict import predict
from finetune.scaler import Scaler
from pretrain.config import LossConfig, ModelConfig
from pretrain.encoder import Encoder, build, describe_encoder
from sharding.config import RecordConfig
from sharding.tokens import Tokenizers

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "predict.md"
ZINC = HERE.parent / "tests" / "data" / "zinc_5k.smi.gz"
MODELS = HERE.parent / "configs" / "model"
ORIGIN = {"run": "none: a benchmark"}
STEPS = ("read", "encode and answer", "domain", "all of it")


class Case(NamedTuple):
    """A model to predict with."""

    sizes: str
    """A file of configs/model."""
    modalities: list[Modality]
    fusion: Fusion = Fusion.concatenation

    def __str__(self) -> str:
        return f"{self.sizes}, {'+'.join(self.modalities)}, {self.fusion}"


CASES = {
    "graph": Case("small", [Modality.graph]),
    "graph-attention": Case("small", [Modality.graph], Fusion.cross_attention),
    "graph-base": Case("base", [Modality.graph]),
    "graph-text": Case("small", [Modality.graph, Modality.text]),
    "all": Case("small", list(Modality), Fusion.cross_attention),
}


class Run(NamedTuple):
    """A whole run."""

    rows: int
    rate: float
    """Molecules a second of CPU time."""
    megabytes: float


def make_model(case: Case, smiles: list[str]) -> FineTuned:
    """Never trained: its answers mean nothing and take as long."""
    torch.manual_seed(0)
    tokenizers, record, loss = Tokenizers.load(), RecordConfig(), LossConfig()
    sizes = ModelConfig(**yaml.safe_load((MODELS / f"{case.sizes}.yaml").read_text()))
    described = describe_encoder(sizes, loss, record, tokenizers, ORIGIN)
    encoder = Encoder(build(described, tokenizers).eval(), tokenizers, record, described)
    config = FinetuneConfig(
        encoder="",
        table="",
        run="",
        targets=["y"],
        task=Task.regression,
        modalities=case.modalities,
        fusion=case.fusion,
    )
    members = [Member(encoder, design(config, encoder.model.widths), Scaler.identity(1))]
    untold = FineTuned(members, ORIGIN)
    made, _ = untold.molecules(smiles[:MOST])
    predicted, vectors = untold.answers(made)
    calibration = Calibration(Task.regression, predicted + 1, predicted)
    return FineTuned(members, ORIGIN, calibration, Domain.fit(made.smiles, vectors))


def steps(model: FineTuned, smiles: list[str], size: int) -> dict[str, float]:
    """Median microseconds of CPU time a molecule."""
    times: dict[str, list[float]] = {step: [] for step in STEPS}

    def timed(step: str, work: Callable[[], Any]) -> Any:
        begun = time.process_time()
        found = work()
        times[step].append((time.process_time() - begun) / size * 1e6)
        return found

    config, domain = PredictConfig(finetuned="", table="", output=""), model.domain
    assert domain is not None
    for begin in range(0, len(smiles), size):
        some = smiles[begin : begin + size]
        piece = Piece(pa.table({"smiles": some}), some)
        made, _ = timed("read", lambda some=some: model.molecules(some))
        found = timed("encode and answer", lambda made=made: model.answers(made))
        timed("domain", lambda made=made, found=found: domain.nearness(made.smiles, found.vectors))
        timed("all of it", lambda piece=piece: answered(piece, model, config))
    return {step: statistics.median(each[1:]) for step, each in times.items()}  # the first fills tables


def run(folder: Path, rows: int) -> Run:
    """A whole run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.predict", "--folder", str(folder), "--rows", str(rows)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    rate, megabytes = map(float, done.stdout.split())
    return Run(rows, rate, megabytes)


def run_here(folder: Path, rows: int) -> None:
    """What `run` starts: a short file, then the long one."""
    for count in (512, rows):
        table = folder / "library.csv"
        with table.open("w", newline="") as stream:
            csv.writer(stream).writerows(itertools.chain([["smiles"]], ([one] for one in spread(count))))
        begun = time.process_time()
        predict(
            PredictConfig(
                finetuned=str(folder), table=str(table), output=str(folder / "out.csv"), overwrite=True
            )
        )
        seconds = time.process_time() - begun
    print(rows / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)


def spread(rows: int) -> list[str]:
    """So many SMILES: the file's, again and again."""
    smiles = gzip.decompress(ZINC.read_bytes()).decode().split()
    return list(itertools.islice(itertools.cycle(smiles), rows))


def table(costs: dict[str, dict[str, float]], first: str, runs: list[Run]) -> str:
    """Steps of all cases, whole runs of the first."""
    lines = [
        f"| model | {', us/molecule | '.join(STEPS)}, us/molecule | molecules/s/core | domain, of all |",
        f"|---|{'---:|' * (len(STEPS) + 2)}",
    ]
    for name, cost in costs.items():
        cells = " | ".join(f"{cost[step]:,.0f}" for step in STEPS)
        share = cost["domain"] / cost["all of it"]
        lines.append(f"| {CASES[name]} | {cells} | {1e6 / cost['all of it']:,.0f} | {share:.0%} |")
    lines += ["", f"Whole runs, {CASES[first]}:", ""]
    lines += ["| rows | molecules/s/core | peak memory, MB |", "|---:|---:|---:|"]
    lines += [f"| {one.rows:,} | {one.rate:,.0f} | {one.megabytes:,.0f} |" for one in runs]
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="models")
    parser.add_argument("--rows", type=int, nargs="+", default=[8192, 24_576], help="of each whole run")
    parser.add_argument("--piece", type=int, default=512, help="molecules that are timed together")
    parser.add_argument("--pieces", type=int, default=4, help="of them; the first one fills tables")
    parser.add_argument("--write", action="store_true", help=f"append the result to {RESULTS.name}")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        run_here(args.folder, args.rows[0])
        return
    smiles, costs, runs = spread(5000), {}, []
    for name in args.cases:
        model = make_model(CASES[name], smiles)
        costs[name] = steps(model, smiles[: args.pieces * args.piece], args.piece)
        if name == args.cases[0]:
            with tempfile.TemporaryDirectory() as folder:
                model.save(Path(folder))
                runs = [run(Path(folder), rows) for rows in args.rows]
    heading = circumstances(
        "predict",
        f"{os.cpu_count()} cores, {torch.get_num_threads()} used; load at the end {os.getloadavg()[0]:.1f}",
        f"torch {torch.__version__}, numpy {np.__version__}; batches of {PredictConfig.batch} molecules",
    )
    report = f"{heading}\n\n{table(costs, args.cases[0], runs)}\n"
    print(report)
    if args.write:
        title = "" if RESULTS.exists() else "# Prediction\n"
        with RESULTS.open("a") as results:
            results.write(f"{title}\n{report}")


if __name__ == "__main__":
    main()
