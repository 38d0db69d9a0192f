"""Everything that needs a GPU, in one command and under eight minutes: `make gpu`.

    python -m benchmarks.gpu        exit code 0: all that ran went well; 1: not all; 2: no GPU here

Builds the kernel, runs the tests marked `gpu`, looks for bad memory accesses and races, and measures the loss and
the training. Each part is a process with a time limit of its own, so that one that hangs costs its own result only,
and each writes to benchmarks/results as it goes. A part whose tools or packages are missing is left out, and the
outcome says why: nothing but torch, numpy and jaxtyping is needed by all parts.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.circumstances import circumstances
from benchmarks.devices import file_name, in_words

ROOT = Path(__file__).parents[1]
SANITIZERS = ("compute-sanitizer", "/usr/local/cuda/bin/compute-sanitizer")
ALL_TESTS_NEED = ("rdkit", "ray", "hydra", "deepspeed", "webdataset")
TRAINING_NEEDS = ("rdkit", "omegaconf", "deepspeed", "transformers", "torch_geometric", "numba", "zstandard")


class Part(NamedTuple):
    """One process."""

    name: str
    command: Sequence[str]
    limit_s: int
    left_out: str = ""
    """Why it does not run here; empty if it does."""


class Outcome(NamedTuple):
    """What became of a part."""

    name: str
    went_well: bool
    words: str


def plan() -> list[Part]:
    """The parts; their limits add up to eight minutes."""
    python = (sys.executable, "-m")
    nvcc = "" if find("nvcc", "/usr/local/cuda/bin/nvcc") else "no nvcc"
    sanitizer = find(*SANITIZERS)
    # each tensor an allocation of its own: in torch's pools an access beyond one meets another, and is not seen
    watched = ("env", "PYTORCH_NO_CUDA_MEMORY_CACHING=1", sanitizer or "", "--error-exitcode", "9")
    paths = (*python, "benchmarks.kernel_paths")
    no_sanitizer = "" if sanitizer else "no compute-sanitizer"
    tests = ["tests"] if not missing(ALL_TESTS_NEED) else ["tests/ntxent"]
    model = ("--model=base", "--batch=1024", "--steps=25", "--windows=4", "--write")
    return [
        Part("build", (*python, "pretrain.ntxent.kernel.build"), 100, nvcc),
        Part("tests", (*python, "pytest", "-q", "-m", "gpu", *tests), 60, lacking(["pytest", "hypothesis"])),
        Part("memcheck", (*watched, "--tool", "memcheck", *paths), 40, no_sanitizer),
        Part("racecheck", (*watched, "--tool", "racecheck", *paths), 40, no_sanitizer),
        Part("loss", (*python, "benchmarks.ntxent", "--device=cuda", "--write"), 150),
        Part("training", (*python, "benchmarks.training", *model), 90, lacking(TRAINING_NEEDS)),
    ]


def find(*names: str) -> str | None:
    """The first of these programs that is there."""
    return next((path for name in names if (path := shutil.which(name))), None)


def missing(packages: Sequence[str]) -> list[str]:
    """Those that cannot be imported."""
    return [package for package in packages if importlib.util.find_spec(package) is None]


def lacking(packages: Sequence[str]) -> str:
    """Why a part that needs them all is left out."""
    absent = missing(packages)
    return f"not installed: {', '.join(absent)}" if absent else ""


def run(part: Part) -> Outcome:
    """Run it, show what it says, and end it with all its children when its time is over."""
    if part.left_out:
        return Outcome(part.name, True, f"left out: {part.left_out}")
    begin, late, last = time.monotonic(), threading.Event(), ""
    with subprocess.Popen(
        part.command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:

        def stop() -> None:
            late.set()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(part.limit_s, stop)
        timer.start()
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = line.strip() or last
        code = process.wait()
        timer.cancel()
    took = f"{time.monotonic() - begin:.0f} s"
    if late.is_set():
        return Outcome(part.name, False, f"stopped after its {part.limit_s} s; last line: {last}")
    if code:
        return Outcome(part.name, False, f"failed with {code} after {took}: {last}")
    return Outcome(part.name, True, f"went well in {took}: {last}")


def run_all(parts: Sequence[Part], results: Path) -> bool:
    """Every part in turn, each outcome written at once; whether all went well."""
    well = True
    for part in parts:
        print(f"\n== {part.name}", flush=True)
        outcome = run(part)
        well &= outcome.went_well
        line = f"| {outcome.name} | {outcome.words.replace('|', '/')} |"
        print(line, flush=True)
        with results.open("a") as stream:
            stream.write(line + "\n")
    return well


def main() -> int:
    """Say what will happen, do it, say what happened."""
    if not torch.cuda.is_available():
        print("error: torch sees no GPU here. Run this where nvidia-smi and torch see one.", file=sys.stderr)
        return 2
    device, parts = torch.device("cuda"), plan()
    for part in parts:
        what = f"left out: {part.left_out}" if part.left_out else f"at most {part.limit_s} s"
        print(f"{part.name:10} {what}")
    print(f"{'together':10} at most {sum(p.limit_s for p in parts if not p.left_out) / 60:.1f} minutes")
    results = ROOT / "benchmarks" / "results" / f"gpu-{file_name(device)}.md"
    title = "" if results.exists() else f"# What was run on {torch.cuda.get_device_name(device)}\n"
    with results.open("a") as stream:
        about = circumstances(
            "gpu", in_words(device), f"torch {torch.__version__}, CUDA {torch.version.cuda}"
        )
        stream.write(f"{title}\n{about}\n\n| part | outcome |\n|---|---|\n")
    return 0 if run_all(parts, results) else 1


if __name__ == "__main__":
    sys.exit(main())
