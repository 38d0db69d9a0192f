"""Every way to the same loss that the benchmark compares.

name, device  ->  a function of first (n, d), second (n, d), temperature ()  ->  loss ()

    reference   the definition, pretrain.ntxent, in float32
    textbook    the same few lines of torch with the similarities' product in the device's own precision:
                bfloat16 on a GPU, the baseline of "naive torch"; on a CPU it would be the reference again
    lean        the fastest dense form that a few lines give: rows divided by the temperature instead of the
                similarities, and one cross-entropy for the rest
    compiled    `textbook` under torch.compile
    lightly     lightly's NTXentLoss, under autocast on a GPU. Its temperature is fixed, which spares it a gradient
    chunked     ours, in tiles of torch
    cuda        ours, by the kernel
"""

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from pretrain.ntxent import ntxent_loss

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

DENSE = ("reference", "textbook", "lean", "compiled", "lightly")
"""Forms that hold all similarities."""
OURS = ("chunked", "cuda")
FORMS = {"cpu": ("reference", "lean", "lightly", "chunked"), "cuda": (*DENSE, *OURS)}
"""What is measured on a device unless told otherwise. On a CPU, torch.compile takes longer than all the rest."""
TEMPERATURE = 0.1
PACKAGES_OF_LIGHTLY = (
    *("lightly", "lightly.loss", "lightly.utils"),
    *("lightly.models", "lightly.models.modules", "lightly.models.utils"),
)
UNAVAILABLE = (ImportError, OSError, RuntimeError, ValueError)
"""What a form raises that cannot run here: no package, no kernel, no compiler, no memory."""


def product_dtype(form: str, device: torch.device) -> torch.dtype:
    """What the unit rows are rounded to before they meet."""
    single = device.type == "cpu" or form in ("reference", "chunked")
    return torch.float32 if single else torch.bfloat16


def form(name: str, device: torch.device) -> Loss:
    """The form, or one of `UNAVAILABLE`."""
    dtype = product_dtype(name, device)
    if name in ("reference", *OURS):
        return lambda first, second, temperature: ntxent_loss(
            first, second, temperature=temperature, implementation=name
        )
    if name == "textbook":
        return lambda *inputs: textbook(*inputs, dtype)
    if name == "lean":
        return lambda *inputs: lean(*inputs, dtype)
    if name == "compiled":
        return torch.compile(lambda *inputs: textbook(*inputs, dtype), dynamic=True)
    if name == "lightly":
        return lightly(device)
    raise ValueError(f"no form {name!r}; there are {', '.join((*DENSE, *OURS))}")


def textbook(first: Tensor, second: Tensor, temperature: Tensor, dtype: torch.dtype) -> Tensor:
    """All similarities, one log-sum-exp a row."""
    n = len(first)
    unit = normalize(torch.cat([first, second]), dim=1).to(dtype)
    similarity = (unit @ unit.T).float() / temperature
    similarity.fill_diagonal_(-torch.inf)
    return similarity.logsumexp(1).mean() - similarity.diagonal(n).mean()


def lean(first: Tensor, second: Tensor, temperature: Tensor, dtype: torch.dtype) -> Tensor:
    """The labels of the cross-entropy are the partners."""
    n = len(first)
    unit = normalize(torch.cat([first, second]), dim=1)
    similarity = ((unit / temperature).to(dtype) @ unit.to(dtype).T).float()
    similarity.fill_diagonal_(-torch.inf)
    return cross_entropy(similarity, torch.arange(2 * n, device=unit.device).roll(n))


def lightly(device: torch.device) -> Loss:
    """The loss from lightly's own file, as it was installed; docs/ntxent.md says how.

    The packages around that file import torchvision and pytorch_lightning, which the loss does not use and which
    would replace a torch for CPUs by one for CUDA. So they are entered by their folders, without their `__init__`,
    and what the loss's memory bank (size 0 here) would take from lightly.models.utils is left empty.
    """
    if "lightly" not in sys.modules:
        installed = importlib.util.find_spec("lightly")
        if installed is None or installed.origin is None:
            raise ImportError("not installed")
        root = Path(installed.origin).parents[1]
        for package in PACKAGES_OF_LIGHTLY:
            entered = ModuleType(package)
            entered.__path__ = [str(root.joinpath(*package.split(".")))]
            sys.modules[package] = entered
    module = importlib.import_module("lightly.loss.ntx_ent_loss")
    loss = module.NTXentLoss(temperature=TEMPERATURE)

    def call(first: Tensor, second: Tensor, _: Tensor) -> Tensor:
        half = torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()
        with half:
            return loss(first, second)

    return call
