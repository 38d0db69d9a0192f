"""The portable kernel itself, its sources as they are, run on the host a thread at a time.

Nothing of its arithmetic, indices, masks or barriers is restated here: only the PTX instructions have a
meaning of their own, that of the manual, in which copies arrive as late as they may.
"""

import ctypes

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.ntxent import tiles
from pretrain.ntxent.kernel import check
from pretrain.ntxent.kernel.binding import BOTH_SUMS, PULL, ROW_SUMS, NtxentProblem, problem_of
from tests.ntxent import tiling
from tests.ntxent.emulated import CPU, build_emulation, case


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The emulated library."""
    return build_emulation(tmp_path_factory.getbasetemp().parent)


SHAPES = [
    # m, k, d, t, own, pair, ids, multiprocessors, shared KB
    (2 * 98, 2 * 98, 64, 5, 0, 98, False, 2, 163),  # a triangle of three super-tiles, and split columns
    (2 * 33, 6 * 33, 64, 100, 66, 33, False, 1, 163),  # among other ranks' columns, late in training
    (37, 37, 64, 20, 0, 0, True, 1, 163),  # CLIP
    (5, 201, 64, 20, -1, 0, True, 3, 163),  # strangers
    (1, 1, 64, 20, -1, 0, False, 1, 163),
    (2 * 9, 2 * 65, 128, 50, 20, 9, True, 1, 163),
    (2 * 33, 2 * 33, 256, 20, 0, 33, True, 1, 163),
    (2 * 33, 2 * 33, 256, 20, 0, 33, True, 1, 99),  # the shared memory of Ada
    (2 * 33, 2 * 33, 512, 20, 0, 33, False, 1, 163),
    (2 * 33, 2 * 33, 512, 20, 0, 33, False, 1, 99),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_agrees_with_the_tiles_in_float64(library, shape):
    """Sums and pull, twice with equal bits, though its warps run in another order the second time."""
    *sizes, multiprocessors, shared_kb = shape
    library.device(multiprocessors, shared_kb)
    assert check.disagreement(library, 0, case(*sizes), CPU) is None
    assert library.c.emulation_bank_conflicts() == 0


def test_sums_of_super_tiles_with_several_strips_and_tiles(library):
    """No multiprocessors, so no number of super-tiles is too few, and there is one."""
    of = case(2 * 65, 2 * 65, 64, 20, 0, 65, True)
    exact = of.double()[:7]
    for both in (False, True):
        ours = library.device(0).negative_sums(0, problem_of(*of[:7]), both)
        for sums, right in zip(ours, tiles.negative_sums(*exact, both), strict=True):
            torch.testing.assert_close(sums.double(), right, rtol=1e-5, atol=0)


@pytest.mark.slow
def test_it_agrees_where_a_triangle_has_large_super_tiles(library):
    """Ten of 256 x 256: strips, tiles and column sums on both sides of the diagonal."""
    library.device(1)
    assert check.disagreement(library, 0, case(2 * 397, 2 * 397, 64, 20, 0, 397, True), CPU) is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_it_agrees_whatever_the_sizes(library, seed):
    """Drawn at random, with more tiles than above."""
    draw = torch.Generator().manual_seed(seed)
    n, d, ranks = (
        int(torch.randint(low, high, (), generator=draw)) for low, high in ((1, 90), (0, 4), (1, 4))
    )
    own, d = 2 * n * (seed % ranks), 64 << d
    for shared_kb in (163, 99):
        library.device(1 + seed % 5, shared_kb, seed)
        assert (
            check.disagreement(library, 0, case(2 * n, 2 * n * ranks, d, 30, own, n, seed % 2), CPU) is None
        )


def test_a_path_that_fails_its_trial_or_never_ends_it_is_refused(library, tmp_path, monkeypatch):
    """The trial is a process of its own; one that agreed is remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "CUDA error 1" in check.complaint(library.file, 1, CPU)
    monkeypatch.setattr(check, "TIME_LIMIT_S", 0.1)
    assert "did not finish" in check.complaint(library.file, 0, CPU)
    assert not list(tmp_path.rglob("agreed-*"))
    (tmp_path / "molparallax").mkdir()
    (tmp_path / "molparallax" / f"agreed-{check.name_of_trial(library.file, 0, CPU)}").touch()
    assert check.complaint(library.file, 0, CPU) is None


def test_wrong_numbers_are_an_error_and_touch_nothing(library):
    """The library's own checks; addresses are never followed."""
    library.device()
    good = {"m": 4, "k": 8, "d": 64, "own": 4, "pair": 2}
    here = dict.fromkeys(("rows", "columns", "t"), 1 << 20)
    size = ctypes.c_size_t()

    def scratch(**wrong):
        problem = NtxentProblem(**{**here, **good, **wrong})
        return library.c.molparallax_ntxent_scratch(ctypes.byref(problem), 0, ROW_SUMS, ctypes.byref(size))

    assert scratch() == 0
    for wrong in (
        {"m": 0},
        {"k": 0},
        {"k": 1 << 26},
        {"d": 96},
        {"own": 5},
        {"own": -2},
        {"pair": 3},
        {"pair": -2},
        {"row_ids": 16},
    ):
        assert scratch(**wrong) == 1, wrong
    problem = NtxentProblem(**{**here, **good, "rows": (1 << 20) + 2})
    assert library.c.molparallax_ntxent_sums(ctypes.byref(problem), 0, 16, None, 16, None) == 1
    assert library.c.molparallax_ntxent_sums(
        ctypes.byref(NtxentProblem(**{**here, **good})), 1, 16, None, 16, None
    )
    assert library.sources() == "emulated"


def test_arguments_that_are_no_problem(library):
    """Of other types or shapes: refused before the library sees an address."""
    rows = torch.zeros(4, 64, dtype=torch.bfloat16)
    for wrong in ((rows.float(), rows), (rows, rows[:, :32]), (rows[0:4, None], rows)):
        with pytest.raises(ValueError):
            problem_of(*wrong, torch.tensor(1.0), None, None, 0, 2)
    with pytest.raises(RuntimeError, match="CUDA error 1"):
        library.device().negative_sums(0, problem_of(rows, rows, torch.tensor(1.0), None, None, 3, 2), False)


sizes = st.integers(1, 70_000) | st.integers(1, 1 << 21)


@settings(max_examples=150, deadline=None)
@given(
    m=sizes, k=sizes, d=st.sampled_from([64, 128, 256, 512]), devices=st.integers(1, 200), ada=st.booleans()
)
def test_scratch_is_the_models(library, m, k, d, devices, ada):
    """What the library asks for, of each pass, and never more than a gigabyte or two."""
    library.device(devices, 99 if ada else 163)
    problem = NtxentProblem(rows=16, columns=16, t=16, m=m, k=k, d=d, own=-1, pair=0)
    for both, work in ((False, ROW_SUMS), (True, BOTH_SUMS)):
        floats = tiling.plan_sums(m, k, False, both, devices).scratch_floats(m, k)
        assert library.scratch_bytes(0, problem, work) == 4 * floats
    problem.own, problem.k = 0, m
    floats = tiling.plan_sums(m, m, True, False, devices).scratch_floats(m, m)
    assert library.scratch_bytes(0, problem, ROW_SUMS) == 4 * floats
    splits = tiling.plan_pull(m, m, d, *tiling.PULL_TILES[d, not ada], devices)
    assert library.scratch_bytes(0, problem, PULL) == (0 if splits == 1 else 4 * splits * m * d)


def test_scratch_stays_small(library):
    """132 multiprocessors, as an H200 has."""
    library.device(132)
    for m, most in ((65_536, 20 * 10**6), (1_048_576, 5 * 10**9)):
        problem = NtxentProblem(rows=16, columns=16, t=16, m=m, k=m, d=256, own=0, pair=m // 2)
        assert library.scratch_bytes(0, problem, ROW_SUMS) < most
        assert library.scratch_bytes(0, problem, PULL) <= 1 << 26


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 40_000), k=st.integers(1, 40_000), triangle=st.booleans(), devices=st.integers(1, 150)
)
def test_blocks_visit_every_super_tile_once_and_as_modelled(library, m, k, triangle, devices):
    k = m if triangle else k
    plan = tiling.plan_sums(m, k, triangle, False, devices)
    modelled = list(plan.places())
    blocks = library.c.emulation_blocks(m, k, triangle, devices)
    assert blocks == len(modelled) == len(set(modelled))
    assert {(i, j) for i in range(plan.rows) for j in range(i if triangle else 0, plan.columns)} <= set(
        modelled
    )
    row, column = ctypes.c_int(), ctypes.c_int()
    for block in {0, blocks // 3, blocks // 2, blocks - 1}:
        library.c.emulation_place(m, k, triangle, devices, block, ctypes.byref(row), ctypes.byref(column))
        assert (row.value, column.value) == modelled[block]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_pairs(library, data):
    """Which pairs are negatives, by definition; and a tile that is passed over unlooked at holds nothing else."""
    n = data.draw(st.integers(1, 9))
    pair = data.draw(st.sampled_from([0, n]))
    m = 2 * n if pair else data.draw(st.integers(1, 18))
    k = m + data.draw(st.integers(0, 20))
    own = data.draw(st.integers(-1, k - m))
    row, rows = data.draw(st.integers(0, m - 1)), data.draw(st.integers(1, 8))
    column, columns = data.draw(st.integers(0, k - 1)), data.draw(st.integers(1, 8))
    tile = [(i, j) for i in range(row, row + rows) for j in range(column, column + columns)]

    def by_definition(i, j):
        known = {own + (i + pair) % m, own + i} if own >= 0 else set()
        return i < m and j < k and j not in known

    verdicts = [library.c.emulation_is_negative(m, k, own, pair, i, j) for i, j in tile]
    assert verdicts == [by_definition(i, j) for i, j in tile]
    if library.c.emulation_all_negatives(m, k, own, pair, row, rows, column, columns):
        assert all(verdicts)
