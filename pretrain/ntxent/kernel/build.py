"""nvcc: the sources in this folder -> one shared library for every device from Ampere on.

    python -m pretrain.ntxent.kernel.build [--output PATH]

The library holds machine code for `ARCHITECTURES`, intermediate code of the first for later devices, and the
CUDA runtime; it needs no torch. A register spill is an error: it would be silent and slow.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
NAME = "libmolparallax_ntxent.so"
ARCHITECTURES = ("80", "86", "89", "90a")
USUAL_HOME = "/usr/local/cuda"


class BuildFailed(Exception):
    """There is no library, and why."""


class Kernel(NamedTuple):
    """What ptxas reports of one kernel."""

    name: str
    architecture: str
    registers: int
    spilled_bytes: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, and print the registers of each kernel as a table."""
    parser = argparse.ArgumentParser(description="Build the NT-Xent kernel with nvcc.")
    parser.add_argument("--output", type=Path, default=FOLDER / NAME, help="default: beside the sources")
    parser.add_argument("--architectures", nargs="+", default=ARCHITECTURES, help="such as 80 90a")
    options = parser.parse_args(arguments)
    try:
        kernels = build(options.output, options.architectures)
    except BuildFailed as failed:
        print(failed, file=sys.stderr)
        return 2
    print("\n".join(table(kernels)))
    print(f"{options.output}: {options.output.stat().st_size / 2**20:.1f} MB")
    return 0


def build(output: Path, architectures: Sequence[str] = ARCHITECTURES) -> list[Kernel]:
    """Write the library to `output`, complete or not at all."""
    nvcc = find_nvcc()
    if nvcc is None:
        raise BuildFailed(f"no nvcc on PATH, in CUDA_HOME or in {USUAL_HOME}: install the CUDA toolkit")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        library = Path(folder) / NAME
        done = subprocess.run(command(nvcc, library, architectures), capture_output=True, text=True)
        if done.returncode:
            raise BuildFailed(f"nvcc failed with {done.returncode}:\n{done.stdout}{done.stderr}")
        kernels = list(kernels_in(done.stdout + done.stderr))
        spilling = [kernel for kernel in kernels if kernel.spilled_bytes]
        if spilling:
            raise BuildFailed("\n".join(["kernels spill registers:", *table(spilling)]))
        library.replace(output)
    return kernels


def find_nvcc() -> Path | None:
    """The compiler on PATH, or in the usual places."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), USUAL_HOME]
    found = shutil.which("nvcc") or next(
        (path for home in homes if home and (path := shutil.which("nvcc", path=f"{home}/bin"))), None
    )
    return Path(found) if found else None


def fingerprint() -> str:
    """Changes when a source does."""
    digest = hashlib.sha256()
    for source in sorted(path for pattern in ("*.cu", "*.cuh", "*.h") for path in FOLDER.glob(pattern)):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def command(nvcc: Path, output: Path, architectures: Sequence[str]) -> list[str]:
    """The whole command line."""
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    if architectures[0].isdigit():  # of 90a there is no intermediate code that runs elsewhere
        targets.append(f"-gencode=arch=compute_{architectures[0]},code=compute_{architectures[0]}")
    return [
        *(str(nvcc), "-std=c++17", "-O3", "-Xptxas=-v", "--threads=0", *targets),
        *("-shared", "-cudart=static", "-Xcompiler=-fPIC,-fvisibility=hidden"),
        "-Xlinker=--exclude-libs,ALL",  # torch brings a CUDA runtime of its own: neither sees the other's
        f'-DNTXENT_SOURCES="{fingerprint()}"',
        *(str(source) for source in sorted(FOLDER.glob("*.cu"))),
        *("-o", str(output)),
    ]


def kernels_in(report: str) -> Iterator[Kernel]:
    """What `ptxas -v` says of each entry function."""
    for part in report.split("Compiling entry function '")[1:]:
        mangled, architecture = re.match(r"(\w+)' for 'sm_(\w+)'", part).groups()  # type: ignore[union-attr]
        spills = re.findall(r"(\d+) bytes spill", part)
        registers = re.search(r"Used (\d+) registers", part)
        yield Kernel(
            readable(mangled), architecture, int(registers[1]) if registers else 0, sum(map(int, spills))
        )


def readable(mangled: str) -> str:
    """`_ZN6ntxent11sums_kernelILi64EEEv...` -> `sums_kernel<64>`."""
    at, name = len("_ZN") if mangled.startswith("_ZN") else len("_Z"), mangled
    while length := re.match(r"\d+", mangled[at:]):
        start = at + len(length[0])
        at = start + int(length[0])
        name = mangled[start:at]
    numbers = re.findall(r"L[ibj](\d+)E", mangled[at:])
    return f"{name}<{', '.join(numbers)}>" if numbers else name


def table(kernels: Sequence[Kernel]) -> list[str]:
    """A row for each kernel, a column for each architecture: registers, and spilled bytes if any."""
    architectures = list(dict.fromkeys(kernel.architecture for kernel in kernels))
    cells = {
        (k.name, k.architecture): f"{k.registers}" + (f" +{k.spilled_bytes} B" if k.spilled_bytes else "")
        for k in kernels
    }
    names = sorted({kernel.name for kernel in kernels})
    width = max(map(len, names), default=0)
    head = " " * width + "".join(f"{'sm_' + a:>10}" for a in architectures)
    rows = [f"{n:{width}}" + "".join(f"{cells.get((n, a), ''):>10}" for a in architectures) for n in names]
    return [head, *rows]


if __name__ == "__main__":
    sys.exit(main())
