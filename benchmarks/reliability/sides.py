"""The two trainers, behind the same questions: start a run, and look at what it left.

`Raw` is benchmarks/reliability/raw.py, `Ours` is launch/pretrain.py. Both: two gloo ranks under the deepspeed
launcher, ZeRO-1, float32, dropout, global batches of 16, unless said otherwise.
"""

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.reliability.launches import LIMIT_S, REPOSITORY, Launch, Watched, deepspeed, python
from benchmarks.reliability.ranks import Ranks
from pretrain import checkpoint
from pretrain.checkpoint.tensors import Digest
from pretrain.checkpoint.verify import MANIFEST, make_manifest
from sharding.files import read_json, sha256, write_json

ERROR = re.compile(r"^(?:\[rank\d+\]: )?(error: .*|warning: .*|(?:\w+\.)*\w*(?:Error|Exception|Ended)\b.*)$")


@dataclass(frozen=True)
class End:
    """How a launch ended: `code` None means that it did not, within the limit."""

    code: int | None
    resumed: int | None
    said: str
    output: str

    @property
    def refusal(self) -> str:
        """For a table."""
        how = "hangs" if self.code is None else f"exit {self.code}"
        return f"{how}: `{self.said}`" if self.said else how


def end_of(launch: Watched, limit_s: float = LIMIT_S) -> End:
    """Wait and read."""
    code = launch.wait(limit_s)
    text = launch.output.replace("|", " ")
    resumed = re.search(r"resumed at step ([\d,]+)", text)
    errors = [found[1] for line in text.splitlines() if (found := ERROR.match(line.strip()))]
    said = [error for error in errors if "ProcessGroup" not in error and "SIGTERM" not in error]
    step = int(resumed[1].replace(",", "")) if resumed else None
    return End(code, step, _short(said[-1]) if said else "", text)


def _short(line: str) -> str:
    """Without places of this machine, and not longer than a table bears."""
    line = re.sub(r"(/[\w.-]+)+/", "", line).replace("`", "'").removeprefix("error: ")
    return line if len(line) <= 110 else line[:107] + "..."


class Side:
    """A trainer; every run lies in a folder below `root`."""

    name: str
    module: str
    a_while: int
    """Steps that take long enough to be struck in."""

    def __init__(self, root: Path) -> None:
        self.root = root / self.name.replace(" ", "-")
        self.root.mkdir(parents=True)

    def launch(self, run: Path, environment: dict[str, str] | None = None, **options: Any) -> Launch:
        """Start a run with the deepspeed launcher, as a user would."""
        return Launch(deepspeed(self.module, 2, *self.arguments(run, options)), self.log(run), environment)

    def start(
        self, run: Path, ranks: int = 2, environment: dict[str, str] | None = None, **options: Any
    ) -> Ranks:
        """Start or go on with a run, without the launcher."""
        return Ranks(self.module, ranks, self.arguments(run, options), self.log(run), environment or {})

    def log(self, run: Path) -> Path:
        """A new file for what a launch says."""
        number = len(list(self.root.glob(f"{run.name}.*.log")))
        return self.root / f"{run.name}.{number}.log"

    def train(self, run: Path, limit_s: float = LIMIT_S, **options: Any) -> End:
        """Start and wait."""
        return end_of(self.start(run, **options), limit_s)

    def copy(self, run: Path, name: str) -> Path:
        """A run to strike, from one that is kept."""
        return Path(shutil.copytree(run, self.root / name))

    def arguments(self, run: Path, options: dict[str, Any]) -> list[str]:
        """Of the command. Options: steps, save_every, stage, bf16, dropout (ours), hang_s."""
        raise NotImplementedError

    def checkpoints(self, run: Path) -> Path:
        """The folder below which checkpoints are written."""
        raise NotImplementedError

    def file_of_rank(self, run: Path, step: int, rank: int) -> Path:
        """What this rank has written of a checkpoint."""
        raise NotImplementedError

    def vouch(self, folder: Path) -> None:
        """Make whatever lies in a checkpoint look as if it had been written there."""

    def final(self, run: Path, step: int) -> dict[str, Any]:
        """`weights`: a hash of the weights after the last step; `finite`; `skipped`: steps left out."""
        raise NotImplementedError

    def saved(self, run: Path) -> list[int]:
        """Steps with something in the place of a checkpoint."""
        names = [
            re.fullmatch(r"(?:global_step|step-)(\d+)", file.name) for file in self.checkpoints(run).glob("*")
        ]
        return sorted(int(name[1]) for name in names if name)

    def losses(self, run: Path) -> list[tuple[int, float]]:
        """(step, loss) of each line of metrics.jsonl that is whole."""
        file = run / "metrics.jsonl"
        lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
        whole = [re.fullmatch(r'\{"step": (\d+), .*"loss": ([^,}]+).*\}\n', line) for line in lines]
        return [(int(line[1]), float(line[2])) for line in whole if line]


class Raw(Side):
    """DeepSpeed as its pages show it."""

    name = "raw DeepSpeed"
    module = "benchmarks.reliability.raw"
    a_while = 1_000_000

    def arguments(self, run: Path, options: dict[str, Any]) -> list[str]:
        given = options | {"run": run}
        given.pop("dropout", None)
        if "hang_s" in given:
            given["timeout_s"] = given.pop("hang_s")
        flags = ["--bf16"] if given.pop("bf16", False) else []
        return [*flags, *(str(part) for name, value in given.items() for part in (f"--{name}", value))]

    def checkpoints(self, run: Path) -> Path:
        return run

    def file_of_rank(self, run: Path, step: int, rank: int) -> Path:
        return run / f"global_step{step}" / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"

    def final(self, run: Path, _step: int) -> dict[str, Any]:
        return json.loads((run / "end.json").read_text())


class Ours(Side):
    """This project's doorway."""

    name = "molparallax"
    module = "benchmarks.reliability.ours"
    a_while = 30
    OPTIONS = (
        *("model.graph_hidden=16", "model.global_heads=2", "model.text_hidden=16", "model.text_layers=1"),
        *("model.text_heads=2", "model.text_feedforward=32", "model.projection=16", "evaluation.held_out=32"),
        *("train.batch=16", "train.lanes=4", "train.log_every=1", "train.evaluate_every=1000000"),
        *("train.head_start=64", "train.learning_rate=1e-2", "train.warmup_steps=100"),
    )
    """The warm-up is longer than any run here, so that a longer run is the same run: a cosine would be stretched."""

    def __init__(self, root: Path, shards: Path) -> None:
        super().__init__(root)
        self.shards = shards

    def look_after(self, run: Path, **options: Any) -> Launch:
        script = str(REPOSITORY / "launch" / "pretrain.py")
        supervised = ("supervise.ranks=2", "supervise.pause_s=0", "supervise.restarts=9")
        return Launch(python(script, *self.arguments(run, options), *supervised), self.log(run))

    def arguments(self, run: Path, options: dict[str, Any]) -> list[str]:
        given = {
            "steps": 6,
            "save_every": 2,
            "stage": 1,
            "dropout": 0.1,
            "bf16": False,
            "data": self.shards,
        } | options
        model = [f"model.dropout={given.pop('dropout')}", f"data={given.pop('data')}", f"run={run}"]
        given["precision"] = "bfloat16" if given.pop("bf16") else "float32"
        given["zero_stage"] = given.pop("stage")
        return [*self.OPTIONS, *model, *(f"train.{name}={value}" for name, value in given.items())]

    def checkpoints(self, run: Path) -> Path:
        return run / "checkpoints"

    def file_of_rank(self, run: Path, step: int, rank: int) -> Path:
        return self.checkpoints(run) / f"step-{step}" / f"rank-{rank}.safetensors"

    def vouch(self, folder: Path) -> None:
        manifest = read_json(folder / MANIFEST)
        about = {
            name: value
            for name, value in manifest.items()
            if name not in ("schema", "sha256", "files", "step")
        }
        files = {
            name: Digest((folder / name).stat().st_size, sha256(folder / name)) for name in manifest["files"]
        }
        write_json(folder / MANIFEST, make_manifest(manifest["step"], about, files))

    def final(self, run: Path, step: int) -> dict[str, Any]:
        weights = checkpoint.weights(self.checkpoints(run) / f"step-{step}")
        digest = hashlib.sha256(
            b"".join(weights[name].numpy().tobytes() for name in sorted(weights))
        ).hexdigest()
        lines = (run / "metrics.jsonl").read_text().splitlines()
        finite = all(bool(w.isfinite().all()) for w in weights.values())
        return {"finite": finite, "skipped": json.loads(lines[-1]).get("skipped"), "weights": digest}
