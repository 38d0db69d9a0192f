"""The kernel's library on this machine: found, built if need be, and tried before it is believed.

device, dtype of the loss, d width  ->  None, or why the kernel cannot be used

It lies beside this file, from the wheel or from `make kernel`. Else, on a machine with a CUDA device and nvcc, it is
built once into the user's cache, for that device alone. Where neither is possible there is a reason, and
NT-Xent is computed in torch.
"""

import fcntl
import functools
import logging
from pathlib import Path

import torch

from pretrain.ntxent.kernel import build, check
from pretrain.ntxent.kernel.binding import PATHS, WIDTHS, Binding, KernelFailed

log = logging.getLogger(__name__)


class Unavailable(Exception):
    """There is no kernel for this device; the message is the reason."""


def unavailable(device: torch.device, dtype: torch.dtype, d: int) -> str | None:
    """Why the kernel cannot compute this loss, or None if it can."""
    if device.type != "cuda":
        return f"it needs a CUDA device, and the views are on {device.type}"
    if dtype == torch.float64:
        return "it computes in single precision, and the views are float64"
    if d not in WIDTHS:
        return f"it takes a width of {', '.join(map(str, WIDTHS))}, and that of the views is {d}"
    index = torch.cuda.current_device() if device.index is None else device.index
    reason, _, _ = _choice(index)
    return reason


def kernel_on(device: torch.device) -> tuple[Binding, int]:
    """The library, and its best path that works on this device."""
    reason, binding, path = _choice(torch.cuda.current_device() if device.index is None else device.index)
    if binding is None:
        raise RuntimeError(f"the NT-Xent kernel cannot be used: {reason}")
    return binding, path


@functools.cache
def _choice(index: int) -> tuple[str | None, Binding | None, int]:
    device = torch.device("cuda", index)
    try:
        if torch.cuda.get_device_capability(device) < (8, 0):
            name = torch.cuda.get_device_name(device)
            raise Unavailable(f"it needs compute capability 8.0, Ampere or later, and the device is a {name}")
        library = find(device)
        return None, Binding(library), _agreeing_path(library, device)
    except Unavailable as reason:
        return str(reason), None, -1
    except (OSError, KernelFailed) as failed:  # of a library for another system; of a driver older than it
        return f"its library cannot be used: {failed}", None, -1


def _agreeing_path(library: Path, device: torch.device) -> int:
    with torch.cuda.device(device):
        best = Binding(library).path()
    if best < 0:
        raise Unavailable("its library finds no device that it can use")
    for path in range(best, -1, -1):
        problem = check.complaint(library, path, device)
        if problem is None:
            return path
        log.warning("NT-Xent kernel: %s is not used on this device: %s", PATHS[path], problem)
    raise Unavailable("its results on this device are not right")


def find(device: torch.device) -> Path:
    """The library beside this file, or in the cache, or built there now."""
    beside = build.FOLDER / build.NAME
    if beside.exists():
        if Binding(beside).sources() == build.fingerprint():
            return beside
        log.warning("%s was built from other sources: 'make kernel' builds it anew", beside)
    major, minor = torch.cuda.get_device_capability(device)
    architecture = "90a" if (major, minor) == (9, 0) else f"{major}{minor}"
    return cached(architecture)


def cached(architecture: str) -> Path:
    """Built for one architecture, by the first process that needs it; the others wait."""
    library = check.cache_folder() / f"ntxent-{build.fingerprint()}-{architecture}" / build.NAME
    if library.exists():
        return library
    if build.find_nvcc() is None:
        raise Unavailable(
            "its library is not there, nor nvcc to build it: 'make kernel' on a machine with nvcc"
        )
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with (library.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not library.exists():
                log.warning("NT-Xent kernel: building it for compute capability %s, once", architecture)
                build.build(library, [architecture])
    except (build.BuildFailed, OSError) as failed:
        raise Unavailable(f"its build failed: {str(failed).splitlines()[-1]}") from failed
    return library
