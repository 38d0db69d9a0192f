"""NT-Xent, forward and backward: time, memory and error of every form, beside the least that the device allows.

    OMP_NUM_THREADS=1 python -m benchmarks.ntxent --write       one thread, some three minutes of CPU time
    python -m benchmarks.ntxent --device cuda --write           a GPU, 4,096 to 1,048,576 rows
    python -m benchmarks.ntxent --n 512 --d 64 --forms reference lean compiled chunked

n pairs of width d are M = 2n rows, in float32, with a temperature that learns. TFLOP/s count the operations of the
definition, 6 M^2 d, whatever a form really does; the floor is 5 M^2 d at the rate of a large matrix product, measured
after each size again (benchmarks/ntxent/cost.py). The tiles need 4 M^2 d, and may go below it. `chunked / this` is
the part of the row's time that the tiles take, `cuda / this` the kernel's. Memory is above the inputs. Errors are
against float64 on the same rounded rows.

Each size is written as soon as it is measured.
"""

import argparse
import platform
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.circumstances import circumstances
from benchmarks.devices import file_name, in_words
from benchmarks.ntxent.cost import Ceilings, ceilings
from benchmarks.ntxent.forms import FORMS
from benchmarks.ntxent.measure import own_peak_mb
from benchmarks.ntxent.rounds import Limits, Rounds
from benchmarks.ntxent.table import head, lines

RESULTS = Path(__file__).parents[1] / "results"
SIZES = {
    "cpu": [(1024, 256), (4096, 256), (16384, 128)],
    "cuda": [(rows // 2, d) for d in (256, 128, 512) for rows in (4096, 16384, 65536, 262144, 1048576)],
}
"""Pairs and widths measured unless told otherwise; of a GPU first the widths of the goal."""
LIMITS = {
    "cpu": Limits(repeats=3, patience_s=30, dense_up_to=8192, exact_up_to=1024),
    "cuda": Limits(repeats=20, patience_s=8, dense_up_to=32768, exact_up_to=8192),
}


def heading(device: torch.device, found: Ceilings) -> str:
    """The circumstances."""
    built = f"torch {torch.__version__}, Python {platform.python_version()}"
    if device.type == "cuda":
        built += f", CUDA {torch.version.cuda}"
    return circumstances(
        "ntxent",
        in_words(device),
        built,
        f"ceilings before the first size: {found.operations_per_s / 1e12:.3g} TFLOP/s ({found.product}), "
        f"{found.bytes_per_s / 1e9:,.3g} GB/s (copy, bytes read and written)",
    )


def reporter(path: Path | None, title: str) -> Callable[[str], None]:
    """Print a line, and append it to the results if there are any."""
    if path is not None and not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# {title}\n")

    def report(line: str) -> None:
        print(line, flush=True)
        if path is not None:
            with path.open("a") as results:
                results.write(line + "\n")

    return report


def main() -> None:
    """Parse, measure, report size by size."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ntxent",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    parser.add_argument("--n", type=int, nargs="+", help="pairs; 2n rows")
    parser.add_argument("--d", type=int, nargs="+", default=[256], help="widths, with --n")
    parser.add_argument("--forms", nargs="+", help="default: all that run quickly on the device")
    parser.add_argument("--repeats", type=int, help="timed steps of a form at a size, at most")
    parser.add_argument("--write", action="store_true", help="append to benchmarks/results/ntxent-DEVICE.md")
    parser.add_argument("--peak-of", metavar="FORM", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.peak_of:
        print(own_peak_mb(args.peak_of, args.n[0], args.d[0]))
        return
    measure(args)


def measure(args: argparse.Namespace) -> None:
    """The table."""
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    where = "one CPU thread, float32" if device.type == "cpu" else torch.cuda.get_device_name(device)
    report = reporter(
        RESULTS / f"ntxent-{file_name(device)}.md" if args.write else None,
        f"NT-Xent on {where}, forward and backward",
    )
    limits = LIMITS[device.type]
    if args.repeats:
        limits = Limits(args.repeats, limits.patience_s, limits.dense_up_to, limits.exact_up_to)
    sizes = [(n, d) for d in args.d for n in sorted(args.n)] if args.n else SIZES[device.type]
    found = ceilings(device)
    for line in ("", heading(device, found), "", *head()):
        report(line)
    rounds = Rounds(args.forms or FORMS[device.type], device, limits)
    for n, d in sizes:
        measured = rounds.at(n, d)
        found = found.best(ceilings(device))
        for line in lines(n, d, measured, found):
            report(line)


if __name__ == "__main__":
    main()
