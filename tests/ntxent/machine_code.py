"""Where the tools are that read machine code: in the CUDA toolkit, and in wheels of their names."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pretrain.ntxent.kernel.build import find_nvcc


def disassembled(library: Path, *options: str) -> str:
    """What cuobjdump says of the library; without it and the nvdisasm that it calls, the test is skipped."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    if nvcc := find_nvcc():
        folders.append(str(nvcc.resolve().parent))
    for package in ("nvidia", "triton"):
        found = importlib.util.find_spec(package)
        for place in (found.submodule_search_locations or []) if found else []:
            folders += [str(file.parent) for file in Path(place).rglob("cuobjdump")]
    path = os.pathsep.join(folders)
    cuobjdump = shutil.which("cuobjdump", path=path)
    if cuobjdump is None or shutil.which("nvdisasm", path=path) is None:
        pytest.skip("no cuobjdump and nvdisasm: they are in the CUDA toolkit, and in wheels of their names")
    command = [cuobjdump, "-sass", *options, str(library)]
    environment = {**os.environ, "PATH": path}
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, timeout=300
    ).stdout
