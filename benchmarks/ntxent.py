"""How long NT-Xent takes on one CPU thread, and how much memory: the definition against tiles.

    OMP_NUM_THREADS=1 python -m benchmarks.ntxent --n 512 1024 4096 --write

Forward and backward of n pairs of width d in float32, with a learnable temperature. Repeats of all forms
are interleaved, so that a busy machine slows each of them, and the ratio is between medians of one run.
Memory is a fresh process's: its highest resident set during one step, above the resident set with the
inputs made and the library warm (VmHWM and VmRSS of Linux; Python's own tracer does not see tensors).

Two dense rivals: `reference` is the definition with torch's broadcasting as people write it; `lean` divides
the rows instead of the similarities by the temperature and lets one cross-entropy do the rest.
"""

import argparse
import functools
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from benchmarks.circumstances import circumstances
from pretrain.ntxent import ntxent_loss

RESULTS = Path(__file__).parent / "results" / "ntxent-cpu.md"
DENSE = ("reference", "lean")


def lean(first: Tensor, second: Tensor, temperature: Tensor) -> Tensor:
    """The fastest dense form that a few lines of torch give."""
    n = len(first)
    unit = normalize(torch.cat([first, second]), dim=1)
    similarity = (unit / temperature) @ unit.T
    similarity.fill_diagonal_(-torch.inf)
    return cross_entropy(similarity, torch.arange(2 * n).roll(n))


def loss_called(form: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """`reference`, `lean`, or `chunked-<edge of a tile>`."""
    if form == "lean":
        return lean
    if form == "reference":
        return functools.partial(ntxent_loss, implementation="reference")
    return functools.partial(ntxent_loss, chunk=int(form.removeprefix("chunked-")))


def inputs(n: int, d: int) -> list[Tensor]:
    """Two views and a temperature, all wanting a gradient."""
    torch.manual_seed(0)
    first = torch.randn(n, d)
    leaves = [first, first + 0.5 * torch.randn(n, d), torch.tensor(0.1)]
    return [leaf.requires_grad_() for leaf in leaves]


def seconds(form: str, leaves: list[Tensor]) -> float:
    """One forward and backward."""
    start = time.perf_counter()
    torch.autograd.grad(loss_called(form)(*leaves), leaves)
    return time.perf_counter() - start


def peak_mb(form: str, n: int, d: int) -> float:
    """The peak of one step above its inputs, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ntxent", "--peak-of", form, "--n", str(n), "--d", str(d)]
    root = Path(__file__).parents[1]
    return float(subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout)


def print_own_peak(form: str, n: int, d: int) -> None:
    """What `peak_mb` starts."""
    seconds(form, inputs(16, d))
    leaves = inputs(n, d)
    before = resident_mb("VmRSS")
    seconds(form, leaves)
    print(resident_mb("VmHWM") - before)


def resident_mb(field: str) -> float:
    """VmRSS, resident now, or VmHWM, the most so far; unlike getrusage's, free of the parent's history."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError(f"/proc/self/status has no {field}: memory is measured on Linux only")
    return int(found[1]) * 1024 / 1e6


def interleaved(forms: list[str], leaves: list[Tensor], repeats: int) -> dict[str, list[float]]:
    """The seconds of each form in each repeat, after a round of warm-up."""
    rounds = [{form: seconds(form, leaves) for form in forms} for _ in range(repeats + 1)]
    return {form: [one[form] for one in rounds[1:]] for form in forms}


def table(args: argparse.Namespace) -> str:
    """One row for each number of pairs and each form."""
    lines = [
        "| pairs n | d | form | median s | slowest s | x reference | x lean | peak above inputs, MB |",
        "|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    for n in args.n:
        forms = [*(DENSE if n <= args.dense_up_to else ()), *(f"chunked-{chunk}" for chunk in args.chunk)]
        times = interleaved(forms, inputs(n, args.d), args.repeats)
        median = {form: statistics.median(times[form]) for form in forms}
        for form in forms:
            ratios = [f"{median[form] / median[dense]:.2f}" if dense in median else "" for dense in DENSE]
            cells = [f"{n:,}", f"{args.d}", form, f"{median[form]:.3f}", f"{max(times[form]):.3f}", *ratios]
            lines.append(f"| {' | '.join(cells)} | {peak_mb(form, n, args.d):,.0f} |")
    return "\n".join(lines)


def heading() -> str:
    """The circumstances."""
    return circumstances(
        "ntxent",
        f"{torch.get_num_threads()} thread",
        f"torch {torch.__version__}, Python {platform.python_version()}",
    )


def main() -> None:
    """Parse, measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, nargs="+", default=[512, 1024, 4096], help="pairs; 2n rows")
    parser.add_argument("--d", type=int, default=256, help="width of the projections")
    parser.add_argument("--chunk", type=int, nargs="+", default=[256, 512, 1024, 2048], help="edges of tiles")
    parser.add_argument("--repeats", type=int, default=5, help="timed repeats of each form")
    parser.add_argument("--dense-up-to", type=int, default=8192, help="no dense form beyond these pairs")
    parser.add_argument("--write", action="store_true", help=f"append the result to {RESULTS.name}")
    parser.add_argument("--peak-of", metavar="FORM", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.peak_of:
        print_own_peak(args.peak_of, args.n[0], args.d)
        return
    report = f"{heading()}\n\n{table(args)}\n"
    print(report)
    if args.write:
        RESULTS.parent.mkdir(exist_ok=True)
        title = "" if RESULTS.exists() else "# NT-Xent on one CPU thread, float32, forward and backward\n"
        with RESULTS.open("a") as results:
            results.write(f"{title}\n{report}")


if __name__ == "__main__":
    main()
