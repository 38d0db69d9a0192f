"""What the demo runs: every doorway with its options, in the order of the stages.

    DemoConfig, machine  ->  {stage: commands}
Each command is one that a user could type in the current folder; the report prints them.
"""

import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launch.config import DemoConfig
from launch.journal import Command, Machine
from launch.reporting.demo.comparison import TABLES, VARIANTS, TableOfLabels, Variant, run_name
from launch.stages import shell_line
from sharding.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY / "tests" / "data"


@dataclass(frozen=True)
class Plan:
    """A demo in its folder, on this machine. Raises `UserError` when its molecules are not there."""

    config: DemoConfig
    machine: Machine

    def __post_init__(self) -> None:
        for file in (self.molecules, *map(self.labels, TABLES.values())):
            if file.is_file():
                continue
            if file.parent == DATA:
                raise UserError(
                    f"{file} does not exist. The demo's molecules travel with the source, not with the "
                    "installed package: clone the repository and run make demo there."
                )
            raise UserError(f"molecules={file} does not exist. Give a file of molecules, or none.")

    @property
    def output(self) -> Path:
        """The demo's folder."""
        return Path(self.config.output)

    @property
    def molecules(self) -> Path:
        """What is sharded."""
        return Path(self.config.molecules) if self.config.molecules else DATA / "zinc_5k.smi.gz"

    @staticmethod
    def labels(table: TableOfLabels) -> Path:
        """The CSV of a table."""
        return DATA / f"{table.name}.csv"

    def stages(self) -> dict[str, list[Command]]:
        """{stage: what it runs}."""
        runs = [
            self._finetune(table, variant, seed)
            for table in TABLES.values()
            for seed in range(self.config.seeds)
            for variant in VARIANTS
        ]
        return {
            "shard": [self._shard()],
            "pretrain": [self._pretrain()],
            "export": [self._export()],
            "finetune": runs,
        }

    def _shard(self) -> Command:
        options = {
            "input": _value(self.molecules),
            "output": _value(self.output / "shards"),
            "executor": self.config.executor.value,
        }
        return _command("shard", options, product=self.output / "shards" / "manifest.json")

    def _pretrain(self) -> Command:
        config = self.config
        options = {
            "data": _value(self.output / "shards"),
            "run": _value(self.output / "pretrain"),
            "model": "small",
            "train.steps": config.steps,
            "train.batch": config.batch,
            "train.learning_rate": config.learning_rate,
            "train.warmup_steps": config.warmup_steps,
            "train.log_every": 5,
            "train.evaluate_every": config.evaluate_every,
            "train.save_every": config.evaluate_every,
            "evaluation.held_out": config.held_out,
        }
        gpus = len(self.machine["gpus"])
        ranks = 1 << (gpus.bit_length() - 1) if gpus else 2  # a power of two, to share the batch
        launcher = ["deepspeed", "--num_gpus", str(ranks), "--master_port", str(_free_port())]
        return _command(
            "pretrain",
            options,
            launcher=launcher,
            environment={} if gpus else {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"},
            product=self.output / "pretrain" / "evaluation.jsonl",
            product_last=False,  # it grows with the run: only the journal knows that the run is complete
        )

    def _export(self) -> Command:
        encoder = self.output / "encoder"
        options = {"run": _value(self.output / "pretrain"), "output": _value(encoder)}
        return _command("export", options, product=encoder / "README.md")

    def _finetune(self, table: TableOfLabels, variant: Variant, seed: int) -> Command:
        name = run_name(table.name, variant, seed)
        run = self.output / "finetune" / name
        options = {
            "encoder": _value(self.output / "encoder"),
            "table": _value(self.labels(table)),
            "targets": f"[{table.target}]",
            "task": table.task,
            "split": "scaffold",
            "run": _value(run),
            "freeze": "true",
            "pretrained": "both" if variant == "pretrained" else "none",
            "modalities": "[graph,text]",  # fingerprints would hide what the encoder knows
            "fusion": "concatenation",
            "seed": seed,
        }
        threads = max(1, self.machine["cores"] // self.config.side_by_side)
        return _command(
            "finetune",
            options,
            name=f"finetune-{name}",
            environment={"OMP_NUM_THREADS": str(threads)},
            product=run / "metrics.json",
        )


def _command(
    stage: str,
    options: Mapping[str, object],
    *,
    product: Path,
    product_last: bool = True,
    name: str = "",
    launcher: list[str] | None = None,
    environment: dict[str, str] | None = None,
) -> Command:
    """The doorway of that stage, run by Python or by a launcher that stands beside it."""
    typed = launcher or ["python"]
    started = [str(Path(sys.executable).with_name(typed[0])), *typed[1:]] if launcher else [sys.executable]
    given = [f"{key}={value}" for key, value in options.items()]
    doorway = [_typed(REPOSITORY / "launch" / f"{stage}.py"), *given]
    return Command(
        stage=stage,
        name=name or stage,
        shown=shell_line(environment or {}, [*typed, *doorway]),
        words=[*started, *doorway],
        environment=environment or {},
        options=given,
        product=product,
        product_last=product_last,
    )


def _typed(path: Path) -> str:
    """As a user would write the path from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _value(path: Path) -> str:
    """The path as a value that Hydra reads back unchanged."""
    text = _typed(path)
    if re.fullmatch(r"[\w./+-]+", text):
        return text
    escaped = text.replace("'", "\\'")
    return f"'{escaped}'"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
