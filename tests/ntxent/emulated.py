"""The portable path's sources, compiled by g++ for a device of fibers (see `emulation/`), as a binding."""

import ctypes
import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

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
    """Compiled once for all test processes, and again when a source has changed."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the emulation")
    sources = hashlib.sha256(fingerprint().encode())
    for source in sorted(EMULATION.glob("*.*")):
        sources.update(source.read_bytes())
    library = folder / f"libemulated-{sources.hexdigest()[:16]}.so"
    with (folder / "emulation.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            command = [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra"]
            command += ["-Wno-unknown-pragmas", f"-I{EMULATION}", f"-I{FOLDER}"]
            command += ['-DNTXENT_SOURCES="emulated"', str(EMULATION / "emulated.cpp")]
            subprocess.run([*command, "-o", str(folder / "building.so")], check=True, timeout=300)
            (folder / "building.so").rename(library)
    return Emulated(library)
