"""The reproducibility record: what somebody needs who wants the same run.

    configuration, what the run is about  ->  environment.json, uncommitted.patch
environment.json: versions, devices, commit, the shards' manifest, ranks, ZeRO stage, precision in effect, command,
and `starts`: step, commit and ranks of every start of this run, because a run that resumes may do so with other
code on another machine. uncommitted.patch: the tracked changes beside the commit, and the names of files that are
in no commit; of the newest start, absent when there are none.

Secrets are redacted, see pretrain/redact.py. The machine's name is left out, and the home folder is `~`, because a
run is made to be shown. config.yaml has whole paths: an export may start elsewhere and looks for the shards there.
The name of TensorBoard's file has the machine's name in it, which its library puts there.
"""

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pretrain.config import PretrainConfig
from pretrain.engine import bfloat16
from pretrain.redact import redact
from sharding.files import read_json, sha256, write_bytes, write_json

PACKAGES = (
    *("molparallax", "torch", "deepspeed", "torch-geometric", "transformers", "tokenizers", "safetensors"),
    *("numpy", "numba", "scikit-learn", "rdkit", "triton", "hydra-core", "omegaconf", "tensorboard", "wandb"),
)
HERE = Path(__file__)
PATIENCE_S = 20.0
"""For git and for the driver's tool. A record is not worth a run that waits."""
LARGEST_PATCH = 2**20
"""Characters of uncommitted.patch."""
MOST_NAMES = 200
"""Files in no commit that it names."""


def write_environment(folder: Path, config: PretrainConfig, about: dict[str, Any], step: int) -> None:
    """Leave environment.json and uncommitted.patch of a start at this step in the run folder."""
    file, patch = folder / "environment.json", uncommitted(HERE)
    made = environment(config) | about
    if "commit" in made:
        made["uncommitted"] = patch is not None
    here = ("commit", "uncommitted", "world", "zero_stage")
    start = {"step": step} | {name: made[name] for name in here if name in made}
    earlier = [one for one in _starts(file) if one.get("step", 0) <= step] if step else []
    write_json(file, redact(without_home(made | {"starts": [*earlier, start]})))
    if patch is None:
        (folder / "uncommitted.patch").unlink(missing_ok=True)
    else:
        write_bytes(folder / "uncommitted.patch", patch.encode())


def environment(config: PretrainConfig) -> dict[str, Any]:
    """Versions, machine, commit and command. What is not known is absent."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: known for name in PACKAGES if (known := _version(name)) is not None},
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda if cuda else None,
        "driver": _asked(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
        if cuda
        else None,
        "precision": "bfloat16" if bfloat16(config.train.precision, device) else "float32",
        "commit": _git(HERE, "rev-parse", "HEAD") if _is_tracked(HERE) else None,
        "manifest_sha256": _manifest(Path(config.data)),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }
    if found["driver"]:
        found["driver"] = str(found["driver"]).splitlines()[0]  # a line for each GPU
    return {name: value for name, value in found.items() if value not in (None, [])}


def uncommitted(source: Path) -> str | None:
    """The changes beside the commit of this file's repository, redacted, at most `LARGEST_PATCH`; None: there are none.

    Redacted before it is cut, because half a secret would not be found.
    """
    if not _is_tracked(source):
        return None
    changes = _git(source, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD") or ""
    new = (_git(source, "ls-files", "--others", "--exclude-standard", "--full-name", ":/") or "").splitlines()
    if not changes and not new:
        return None
    if len(new) > MOST_NAMES:
        new = [*new[:MOST_NAMES], f"and {len(new) - MOST_NAMES:,} more"]
    names = "".join(f"# in no commit: {name}\n" for name in new)
    patch: str = redact(without_home(names + changes + "\n"))
    if len(patch) <= LARGEST_PATCH:
        return patch
    note = f"# cut: the first {LARGEST_PATCH:,} of {len(patch):,} characters\n"
    return note + patch[:LARGEST_PATCH]


def without_home(value: Any) -> Any:
    """The same text, or tree of texts, with `~` where the home folder stood."""
    if isinstance(value, str):
        home = str(Path.home())
        return value.replace(home, "~") if len(home) > 1 else value
    if isinstance(value, dict):
        return {key: without_home(item) for key, item in value.items()}
    return [without_home(item) for item in value] if isinstance(value, list) else value


def _starts(file: Path) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = read_json(file)["starts"]
        return found
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or an older version's
        return []


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    """The processor's name; Linux has it in a file and Python does not look there."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def _manifest(shards: Path) -> str | None:
    file = shards / "manifest.json"
    return sha256(file) if file.is_file() else None


def _is_tracked(source: Path) -> bool:
    """Whether this file is in a repository: an installed copy may lie in somebody else's."""
    return _git(source, "ls-files", "--error-unmatch", source.name) is not None


def _git(source: Path, *words: str) -> str | None:
    return _asked(["git", *words], source.parent)


def _asked(command: Sequence[str], cwd: Path | None = None) -> str | None:
    """What a command prints; None when there is no such command, it fails, or it takes its time."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").rstrip("\n")
