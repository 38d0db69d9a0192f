"""The portable path's sources, compiled by g++ for a device of fibers (see `emulation/`), as a binding."""

import ctypes
import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from pretrain.ntxent.kernel import check
from pretrain.ntxent.kernel.binding import Binding
from pretrain.ntxent.kernel.build import FOLDER, fingerprint

EMULATION = Path(__file__).parent / "emulation"
CPU = torch.device("cpu")


class Emulated(Binding):
    """A library whose device is this process."""

    def __init__(self, library: Path) -> None:
        super().__init__(library)
        self.file, self.c = library, self._c
        self.c.emulation_blocks.restype = ctypes.c_int64
        self.c.emulation_is_negative.restype = ctypes.c_bool
        self.c.emulation_all_negatives.restype = ctypes.c_bool

    def device(self, multiprocessors: int = 4, shared_kb: int = 163, seed: int = 0) -> "Emulated":
        """What it says of itself, and the order of its warps."""
        self.c.emulation_device(multiprocessors, shared_kb * 1024)
        self.c.emulation_order(seed)
        return self


def build_emulation(folder: Path) -> Emulated:
    """The portable path, compiled once for all test processes."""
    return Emulated(once(folder, "portable", lambda library: compile_for_host(library, [EMULATION])))


def once(folder: Path, name: str, build: Callable[[Path], object]) -> Path:
    """A library that `build` writes, once for all test processes, and again when a source has changed."""
    sources = hashlib.sha256(fingerprint().encode())
    for source in sorted(EMULATION.rglob("*.*")):
        sources.update(source.read_bytes())
    library = folder / f"lib{name}-{sources.hexdigest()[:16]}.so"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            build(folder / f"building-{name}.so")
            (folder / f"building-{name}.so").rename(library)
    return library


def compile_for_host(library: Path, emulation: list[Path], kernel: Path = FOLDER) -> None:
    """The sources in `kernel` with the instructions of `emulation`, whose first folder says what is built."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the emulation")
    command = [compiler, "-std=c++17", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    command += ["-Wno-address", "-Wno-unknown-pragmas", *(f"-I{folder}" for folder in (*emulation, kernel))]
    command += ['-DNTXENT_SOURCES="emulated"', str(emulation[0] / "emulated.cpp"), "-o", str(library)]
    subprocess.run(command, check=True, timeout=300)


def case(m, k, d, t, own, pair, ids, seed=0):
    """Random unit rows; with ids, of as many kinds as half the columns."""
    generator = torch.Generator().manual_seed(seed)
    columns = normalize(torch.randn(k, d, generator=generator), dim=1).bfloat16()
    column_ids = torch.randint(max(k // 2, 1), (k,), generator=generator) if ids else None
    if own == 0 and m == k and pair:
        rows, row_ids = columns, column_ids
    else:
        rows = columns[max(own, 0) :][:m].clone()
        row_ids = column_ids[max(own, 0) :][:m].clone() if ids else None
    weights = (torch.rand(size, generator=generator) / k for size in (m, k))
    return check.Case(rows, columns, torch.tensor(float(t)), row_ids, column_ids, own, pair, *weights)
