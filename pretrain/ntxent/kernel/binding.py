"""The functions of ntxent.h on torch tensors.

m rows, k columns, d width. All tensors on one CUDA device; unit rows bfloat16, t and weights float32, ids int64.
    negative_sums: (m, d), (k, d), t ()  ->  (m,), (k,) or empty
    pull:          (m, d), (k, d), t (), weights (m,) and (k,)  ->  (m, d) float32

The arguments mean what they mean in `pretrain.ntxent.tiles`. Memory and stream are torch's, and nothing waits
for the device.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

PATHS = ("the mma.sync path", "the Hopper path")
"""In the order of their numbers in ntxent.h."""
WIDTHS = (64, 128, 256, 512)
ROW_SUMS, PULL, BOTH_SUMS = range(3)


class KernelFailed(RuntimeError):
    """A CUDA error, in words."""


class NtxentProblem(ctypes.Structure):
    """NtxentProblem of ntxent.h, and the tensors that it points to."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("rows", "columns", "row_ids", "column_ids", "t")),
        *((name, ctypes.c_int64) for name in ("m", "k", "d", "own", "pair")),
    )
    tensors: list[Tensor | None]


def problem_of(
    rows: Tensor,
    columns: Tensor,
    t: Tensor,
    row_ids: Tensor | None,
    column_ids: Tensor | None,
    own: int,
    pair: int,
) -> NtxentProblem:
    """What both products share; wrong types and shapes are a ValueError, wrong numbers the library's error."""
    (m, d), (k, width) = rows.shape, columns.shape
    if d != width or t.numel() != 1:
        raise ValueError(f"rows (m, d), columns (k, d), t (): {[tuple(x.shape) for x in (rows, columns, t)]}")
    ids = [
        _ready(part, torch.int64, (n,)) if part is not None else None
        for part, n in ((row_ids, m), (column_ids, k))
    ]
    tensors = [_ready(rows, torch.bfloat16, (m, d)), _ready(columns, torch.bfloat16, (k, d)), *ids]
    tensors.append(_ready(t.reshape(()), torch.float32, ()))
    problem = NtxentProblem(*(_at(tensor) for tensor in tensors), m, k, d, own, pair)
    problem.tensors = tensors
    return problem


class Binding:
    """A library, loaded; without a driver too, and then no device has a path."""

    def __init__(self, library: Path) -> None:
        self._c = ctypes.CDLL(str(library))
        self._c.molparallax_ntxent_error.restype = ctypes.c_char_p
        self._c.molparallax_ntxent_sources.restype = ctypes.c_char_p

    def sources(self) -> str:
        """The fingerprint of the sources that it was built from."""
        text: bytes = self._c.molparallax_ntxent_sources()
        return text.decode()

    def path(self) -> int:
        """The best path of torch's current device, or -1."""
        with self._on(torch.device("cuda" if torch.cuda.is_available() else "cpu")):
            return int(self._c.molparallax_ntxent_path())

    def scratch_bytes(self, path: int, problem: NtxentProblem, work: int) -> int:
        """What the library asks for; `work` is ROW_SUMS, PULL or BOTH_SUMS."""
        size = ctypes.c_size_t()
        self._check(self._c.molparallax_ntxent_scratch(ctypes.byref(problem), path, work, ctypes.byref(size)))
        return size.value

    def negative_sums(self, path: int, problem: NtxentProblem, both: bool) -> tuple[Tensor, Tensor]:
        """Row sums, and column sums or an empty tensor."""
        with self._on(_device(problem)):
            row_sums = _empty(problem, torch.float32, problem.m)
            column_sums = _empty(problem, torch.float32, problem.k if both else 0)
            scratch = _empty(
                problem, torch.uint8, self.scratch_bytes(path, problem, BOTH_SUMS if both else ROW_SUMS)
            )
            pointers = (_at(row_sums), _at(column_sums if both else None), _at(scratch), _stream(problem))
            self._check(self._c.molparallax_ntxent_sums(ctypes.byref(problem), path, *pointers))
        return row_sums, column_sums

    def pull(self, path: int, problem: NtxentProblem, row_weights: Tensor, column_weights: Tensor) -> Tensor:
        """What all negatives together do to each row."""
        row_weights = _ready(row_weights, torch.float32, (problem.m,))
        column_weights = _ready(column_weights, torch.float32, (problem.k,))
        with self._on(_device(problem)):
            out = _empty(problem, torch.float32, problem.m, problem.d)
            scratch = _empty(problem, torch.uint8, self.scratch_bytes(path, problem, PULL))
            pointers = (_at(row_weights), _at(column_weights), _at(out), _at(scratch), _stream(problem))
            self._check(self._c.molparallax_ntxent_pull(ctypes.byref(problem), path, *pointers))
        return out

    @contextmanager
    def _on(self, device: torch.device) -> Iterator[None]:
        """The device as torch's current one and the library's. Host memory is for a test without a GPU."""
        if device.type != "cuda":
            yield
            return
        with torch.cuda.device(device):
            self._check(self._c.molparallax_ntxent_device(torch.cuda.current_device()))
            yield

    def _check(self, code: int) -> None:
        if code:
            text: bytes = self._c.molparallax_ntxent_error(code)
            raise KernelFailed(f"the NT-Xent kernel failed with CUDA error {code}, {text.decode()}")


def _ready(tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """Contiguous and 16-byte aligned, which a slice of weights or ids need not be."""
    if tensor.dtype != dtype or tensor.shape != shape:
        raise ValueError(f"expected {dtype} {shape}, got {tensor.dtype} {tuple(tensor.shape)}")
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def _at(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _device(problem: NtxentProblem) -> torch.device:
    rows = problem.tensors[0]
    assert rows is not None
    return rows.device


def _empty(problem: NtxentProblem, dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=_device(problem))


def _stream(problem: NtxentProblem) -> ctypes.c_void_p:
    device = _device(problem)
    return ctypes.c_void_p(torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else None)
