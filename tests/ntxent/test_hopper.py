"""The Hopper kernel itself, its sources as they are, run on the host: clusters of two blocks, thread by thread.

Only the instructions for barriers, the copy engine and the tensor cores have a meaning of their own, that of the
manual: where TMA's swizzle puts a number, which address a matrix descriptor stands for, how a phase ends. Copies
and products happen as late as waits allow and leave NaN until then, in warps' orders drawn at random; so wrong
layouts, early reads and early overwrites are wrong results, and a protocol that can stop is an error. What no
emulation knows, whether ptxas spills or serialises, is asked of ptxas.
"""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.ntxent import tiles
from pretrain.ntxent.kernel import check
from pretrain.ntxent.kernel.binding import Binding, problem_of
from pretrain.ntxent.kernel.build import FOLDER, find_nvcc, kernels_in
from tests.ntxent.emulated import EMULATION, case, compile_for_host, once
from tests.ntxent.machine_code import disassembled

CPU, HOPPER = torch.device("cpu"), 1


class Emulated(Binding):
    """A library whose device is this process."""

    def __init__(self, library: Path) -> None:
        super().__init__(library)
        self.c = self._c
        self.c.emulation_pairs.restype = ctypes.c_int64

    def device(self, clusters: int = 1, seed: int = 0) -> "Emulated":
        """How many clusters it runs at a time, and the order of their warps."""
        self.c.emulation_cluster(clusters, seed)
        return self


def build(library: Path, sources: Path = FOLDER) -> Emulated:
    """The kernel in this folder, compiled for the host."""
    compile_for_host(library, [EMULATION / "hopper", EMULATION], sources)
    return Emulated(library)


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """Compiled once for all test processes."""
    return Emulated(once(tmp_path_factory.getbasetemp().parent, "hopper", build))


SHAPES = [
    # m, k, d, t, own, pair, ids, clusters
    (
        2 * 98,
        2 * 98,
        64,
        5,
        0,
        98,
        False,
        1,
    ),  # a triangle of three super-tiles: one block has none of its own
    (2 * 33, 6 * 33, 64, 100, 66, 33, False, 1),  # among other ranks' columns, late in training
    (37, 37, 64, 20, 0, 0, True, 1),  # CLIP
    (5, 401, 64, 5, -1, 0, True, 3),  # strangers, and split columns
    (1, 1, 64, 20, -1, 0, False, 1),
    (2 * 9, 2 * 65, 128, 50, 20, 9, True, 1),
    (2 * 140, 2 * 140, 128, 20, 0, 140, True, 2),
    (2 * 33, 2 * 33, 256, 20, 0, 33, True, 1),
    (2 * 140, 2 * 140, 256, 20, 0, 140, True, 2),  # more panels and tiles than stages
    (2 * 33, 2 * 33, 512, 20, 0, 33, False, 1),
    (2 * 75, 2 * 75, 512, 20, 0, 75, True, 2),  # the same
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_agrees_with_the_tiles_in_float64(library, shape):
    """Sums and pull, twice with equal bits, though its warps run in another order the second time."""
    *sizes, clusters = shape
    assert check.disagreement(library.device(clusters), HOPPER, case(*sizes), CPU) is None


def compare_sums(library, of):
    for both in (False, True):
        ours = library.negative_sums(HOPPER, problem_of(*of[:7]), both)
        for sums, right in zip(ours, tiles.negative_sums(*of.double()[:7], both), strict=True):
            torch.testing.assert_close(sums.double(), right, rtol=1e-5, atol=0)


def test_sums_of_super_tiles_with_several_strips_and_tiles(library):
    """Four of 256 x 256, the last ones ragged."""
    compare_sums(library.device(), case(400, 400, 64, 20, 0, 0, True))


@pytest.mark.slow
@pytest.mark.parametrize("d", [128, 256, 512])
def test_sums_of_triangles_with_several_strips_and_tiles(library, d):
    """Rows are replaced while the last tiles of a strip are still being read."""
    compare_sums(library.device(), case(2 * 550, 2 * 550, d, 20, 0, 550, False))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(16))
def test_it_agrees_whatever_the_sizes_and_the_order(library, seed):
    """Drawn at random, with more tiles than above."""
    draw = torch.Generator().manual_seed(seed)
    n, ranks = (int(torch.randint(low, high, (), generator=draw)) for low, high in ((1, 160), (1, 4)))
    own, d = 2 * n * (seed % ranks), 64 << seed % 4
    of = case(2 * n, 2 * n * ranks, d, 30, own, n, seed // 4 % 2, seed)
    assert check.disagreement(library.device(1 + seed % 3, seed), HOPPER, of, CPU) is None


MUTANTS = {
    # what breaks: file, what it says, what it says instead, a shape that needs it
    "a block forgets that the other reads too": (
        *("hopper_plan.h", "= CLUSTER * CONSUMER_WARPS,", "= CONSUMER_WARPS,"),
        *(2 * 140, 2 * 140, 256, 20, 0, 140, False),
    ),
    "a stage is filled before it is free": (
        *("hopper_ring.cuh", "wait(free(at.stage), at.phase ^ 1);", ""),
        *(2 * 140, 2 * 140, 256, 20, 0, 140, False),
    ),
    "a stage is waited for in the wrong phase": (
        *("hopper_ring.cuh", "wait(free(at.stage), at.phase ^ 1);", "wait(free(at.stage), at.phase);"),
        *(5, 5, 64, 20, -1, 0, False),
    ),
    "a panel is given back while it is read": (
        *("hopper_sums.cuh", "wait_for_products<1>();", ""),
        *(2 * 140, 2 * 140, 256, 20, 0, 140, False),
    ),
    "nobody has the first turn": (
        *("hopper_pull.cuh", "if (group == 1) pass_turn();", ""),
        *(5, 5, 64, 20, -1, 0, False),
    ),
    "dot products are read before they are there": (
        *("hopper_pull.cuh", "wait_for_products<0>();\n            pass_turn();", "pass_turn();"),
        *(5, 5, 64, 20, -1, 0, False),
    ),
    "a panel's neighbour is looked for elsewhere": (
        *("hopper_pull.cuh", "stage(), panel_offset(Shape::COLUMNS), GROUP", "stage(), GROUP_OFFSET, GROUP"),
        *(5, 5, 128, 20, -1, 0, False),
    ),
    "half of W is not waited for": (
        *("hopper_pull_wide.cuh", "synchronise(1, CONSUMER_GROUPS * WARPGROUP);", ""),
        *(5, 105, 512, 20, -1, 0, False),
    ),
    "columns past the end count": (
        *("pairs.h", "return j < others.end && ", "return "),
        *(5, 5, 64, 5, -1, 0, False),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_emulation_sees_what_is_broken(tmp_path, mutant):
    """Otherwise the tests above would prove little."""
    name, says, instead, *sizes = MUTANTS[mutant]
    sources = shutil.copytree(
        FOLDER, tmp_path / "kernel", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    text = (sources / name).read_text()
    assert text.count(says) == 1
    (sources / name).write_text(text.replace(says, instead))
    broken = build(tmp_path / "broken.so", sources)
    assert any(complains(broken.device(2, seed), case(*sizes)) for seed in range(8))


def complains(library, of):
    try:
        return check.disagreement(library, HOPPER, of, CPU) is not None
    except RuntimeError:  # threads that wait for ever, or a rule that the emulation saw broken
        return True


@settings(max_examples=100, deadline=None)
@given(
    rows=st.integers(1, 40), columns=st.integers(1, 40), triangle=st.booleans(), clusters=st.integers(1, 70)
)
def test_clusters_visit_every_super_tile_once(library, rows, columns, triangle, clusters):
    """Of a triangle those on and above the diagonal, and the one below it that goes along with a pair."""
    columns = rows if triangle else columns
    visits = (ctypes.c_int * (rows * columns))()
    library.c.emulation_walk(rows, columns, triangle, clusters, visits)
    for row in range(rows):
        start = row // 2 * 2 if triangle else 0
        assert list(visits[row * columns :][:columns]) == [0] * start + [1] * (columns - start)
    assert library.c.emulation_pairs(rows, columns, triangle) == sum(
        columns - (row if triangle else 0) for row in range(0, rows, 2)
    )


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """The Hopper path for sm_90a, and what the compiler said."""
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc")
    cubin = tmp_path_factory.mktemp("hopper") / "hopper.cubin"
    command = [
        str(nvcc),
        "-std=c++17",
        "-O3",
        "-gencode=arch=compute_90a,code=sm_90a",
        "-Xptxas=-v",
        "-cubin",
    ]
    done = subprocess.run(
        [*command, str(FOLDER / "hopper.cu"), "-o", str(cubin)], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return cubin, done.stdout + done.stderr


@pytest.mark.slow
def test_ptxas_neither_spills_nor_serialises(compiled):
    """Advice C7508 says that setmaxnreg is ignored, C7510 to C7519 that products wait for each other."""
    _, said = compiled
    assert not re.search(r"\(C75\d\d\)|warning", said), said
    kernels = [kernel for kernel in kernels_in(said) if kernel.name.startswith("cluster_")]
    assert len(kernels) == 8
    for kernel in kernels:
        assert (kernel.spilled_bytes, kernel.registers) == (0, 168), kernel


@pytest.mark.slow
def test_the_machine_code_is_hoppers_own(compiled):
    """Tensor cores of warpgroups, the copy engine with multicast, barriers, registers handed over, ex2 alone."""
    sass = disassembled(compiled[0])
    functions = [part for part in sass.split("Function : ") if "cluster_" in part.split("\n")[0]]
    assert len(functions) == 8
    for function in functions:
        for instruction in ("HGMMA", "UTMALDG.2D.MULTICAST", "SYNCS", "USETMAXREG", "MUFU.EX2"):
            assert instruction in function
        assert not re.search(r"\*/ +(@!?U?P\d )?(LDL|STL|HMMA|ATOM|ATOMG|ATOMS|RED)\b", function)
    assert sum(".tnspB" in function for function in functions) == 4  # pull's second product
