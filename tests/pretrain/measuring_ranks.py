"""What each process of the tests of a run's numbers does; importable, because spawned processes import it by name."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from pretrain import environment
from pretrain.batch import Prefetch, collate, collate_chunks
from pretrain.config import PretrainConfig
from pretrain.diagnostics import evaluate
from pretrain.engine import build_engine, join
from pretrain.labelled import Labelled
from pretrain.plan import StepMolecules
from pretrain.probe import Probe
from pretrain.progress import Window
from pretrain.train import new_model, pretrain
from sharding.columns import Molecules
from sharding.read import Shards


def measure(
    rank: int, world: int, options: PretrainConfig, molecules: Molecules, labelled: Labelled
) -> dict[str, Any]:
    """A window of three steps, one of them bad; the gallery; the probe's vectors and score."""
    engine = build_engine(new_model(Shards(Path(options.data)), options), options.train, join(options.train))
    share = len(molecules) // world
    mine = molecules.slice(rank * share, (rank + 1) * share)

    window = Window(options, engine.device, seconds=100.0)
    batches = Prefetch(iter([StepMolecules(mine, 4, collate_chunks(mine, 4))] * 3), 1)
    windows = []
    for fine in ([True, False, True], [False]):
        for step, is_fine in enumerate(fine):
            if step < 3 and len(fine) == 3:
                window.wait_for(batches)
            losses = {"graph": torch.tensor(step + rank + 1.0), "text": torch.tensor(2.0)}
            if not is_fine:
                losses["graph"] *= torch.nan
            window.add(losses, torch.tensor(is_fine))
        windows.append((window.close(skipped=len(windows)), window.note))
    batches.close()

    numbers, histograms = evaluate(engine, [collate(mine)])
    probe = Probe(labelled, size=7)
    found = {
        "windows": windows,
        "numbers": numbers,
        "histograms": histograms,
        "vectors": probe.vectors(engine),
        "score": probe(engine),
    }
    engine.destroy()
    return found


def run_with_secrets(
    rank: int,
    world: int,
    runs: list[PretrainConfig],
    secrets: dict[str, str],
    command: list[str],
    source: Path,
) -> None:
    """Runs one after the other in an environment with secrets; what they are made of lies in another repository.

    Between them, the files end as those of a run that was killed while it wrote.
    """
    os.environ |= secrets
    sys.argv = command
    environment.HERE = source
    first, *later = runs
    pretrain(first)
    for options in later:
        for name in ("metrics", "evaluation", "histograms", "skipped"):
            with (Path(options.run) / f"{name}.jsonl").open("a") as stream:
                stream.write('{"step": 99, "loss": 1.0}\n{"step": 1')
        pretrain(options)
    dist.barrier()
