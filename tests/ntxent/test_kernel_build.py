"""The library as nvcc makes it, without a GPU: it compiles, holds the instructions it should, loads, and says no."""

import ctypes
import multiprocessing
import re

import pytest
import torch

from pretrain.ntxent.kernel import build, library
from pretrain.ntxent.kernel.binding import ROW_SUMS, Binding, NtxentProblem
from tests.ntxent.machine_code import disassembled

needs_nvcc = pytest.mark.skipif(build.find_nvcc() is None, reason="no nvcc to compile the kernel")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The library for every architecture, and what ptxas said."""
    output = tmp_path_factory.mktemp("kernel") / build.NAME
    return output, build.build(output)


@needs_nvcc
@pytest.mark.slow
def test_every_architecture_compiles_without_spills(built):
    """`build` refuses spills; here, that the report was understood at all."""
    _, kernels = built
    names = {kernel.name for kernel in kernels}
    assert {f"sums_kernel<{d}>" for d in (64, 128, 256, 512)} < names
    assert {"pull_kernel<256, 128, 64>", "pull_kernel<256, 64, 32>", "pull_kernel<512, 64, 16>"} < names
    for architecture in build.ARCHITECTURES:
        registers = [k.registers for k in kernels if k.architecture == architecture and k.registers]
        assert max(registers) <= 255 and len(registers) >= len(build.ARCHITECTURES)
    assert not [kernel for kernel in kernels if kernel.spilled_bytes]


@needs_nvcc
@pytest.mark.slow
def test_the_machine_code_uses_tensor_cores_and_asynchronous_copies(built):
    """And the kernel's own loads, exponentials and nothing atomic."""
    for architecture in build.ARCHITECTURES:
        sass = disassembled(built[0], "-arch", f"sm_{architecture}")
        for name in ("sums_kernel", "pull_kernel"):
            bodies = [part for part in sass.split("Function : ")[1:] if name in part.split("\n")[0]]
            assert bodies
            for body in bodies:
                for instruction in ("HMMA.16816.F32.BF16", "LDGSTS", "MUFU.EX2", "LDSM"):
                    assert instruction in body, (architecture, name, instruction)
        assert not re.search(r"\*/\s+(@!?U?P\w+\s+)?(ATOM|RED|STL|LDL)", sass)


@needs_nvcc
@pytest.mark.slow
def test_it_loads_without_a_driver_and_fails_with_a_code(built):
    """Where there is a device, `test_kernel_gpu.py` has the rest."""
    if torch.cuda.is_available():
        pytest.skip("there is a device")
    _refuses(built[0])


def test_the_one_of_make_kernel_loads_too():
    """The quick form of the test before."""
    beside = build.FOLDER / build.NAME
    if not beside.exists() or torch.cuda.is_available():
        pytest.skip("'make kernel' has not been run, or there is a device")
    _refuses(beside)


def _refuses(path):
    binding = Binding(path)
    assert re.fullmatch("[0-9a-f]{16}", binding.sources())
    assert binding.path() == -1
    problem = NtxentProblem(rows=16, columns=16, t=16, m=4, k=4, d=64, own=0, pair=2)
    with pytest.raises(RuntimeError, match=r"CUDA error 101, invalid device ordinal"):
        binding.scratch_bytes(0, problem, ROW_SUMS)
    c = ctypes.CDLL(str(path))
    assert c.molparallax_ntxent_sums(ctypes.byref(problem), 0, 16, None, 16, None) == 101


@needs_nvcc
@pytest.mark.slow
def test_two_processes_build_it_once(tmp_path, monkeypatch):
    """The second waits for the first; nothing half-written is ever there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(2) as pool:
        first, second = pool.map(_build_in_cache, ["80", "80"])
    assert first == second
    assert [path.name for path in first.parent.iterdir()].count(build.NAME) == 1
    assert {path.name for path in first.parent.iterdir()} == {build.NAME, "lock"}
    assert Binding(first).sources() == build.fingerprint()
    before = first.stat().st_mtime_ns
    assert library.cached("80").stat().st_mtime_ns == before


def _build_in_cache(architecture):
    return library.cached(architecture)


def test_no_nvcc_is_a_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for variable in ("PATH", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(build, "USUAL_HOME", str(tmp_path))
    with pytest.raises(library.Unavailable, match="nor nvcc to build it"):
        library.cached("80")
    assert build.main(["--output", str(tmp_path / "x.so")]) == 2


@pytest.mark.parametrize(
    ("device", "dtype", "d", "reason"),
    [
        ("cpu", torch.float32, 256, "needs a CUDA device"),
        ("cuda", torch.float64, 256, "single precision"),
        ("cuda", torch.float32, 96, "width of 64, 128, 256, 512, and that of the views is 96"),
    ],
)
def test_reasons(device, dtype, d, reason):
    """Those that need no look at the device."""
    assert reason in library.unavailable(torch.device(device), dtype, d)


REPORT = """ptxas info    : Compiling entry function '_ZN6ntxent11sums_kernelILi64EEEvNS_8OperandsE' for 'sm_80'
ptxas info    : Function properties for _ZN6ntxent11sums_kernelILi64EEEvNS_8OperandsE
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers
ptxas info    : Compiling entry function '_ZN6ntxent12add_in_orderEPKfilPf' for 'sm_90a'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 24 registers, used 0 barriers
"""


def test_the_report_of_ptxas_as_a_table():
    """A spill is seen, and beside whom it belongs."""
    kernels = list(build.kernels_in(REPORT))
    assert kernels == [
        build.Kernel("sums_kernel<64>", "80", 128, 16),
        build.Kernel("add_in_order", "90a", 24, 0),
    ]
    assert [line.split() for line in build.table(kernels)] == [
        ["sm_80", "sm_90a"],
        ["add_in_order", "24"],
        ["sums_kernel<64>", "128", "+16", "B"],
    ]
