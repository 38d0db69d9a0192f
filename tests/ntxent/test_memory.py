"""The similarities are never whole in memory."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.ntxent.cases import FORMS, loss_of, tiles_of


class LargestTensor(TorchDispatchMode):
    """Remembers the storage of the largest tensor that any operator, forward or backward, returned."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                held = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.elements = max(self.elements, held)
        return result


def largest(n, d, edge=512, **options):
    """Elements of the largest tensor in one forward and backward."""
    first, second = (torch.randn(n, d, requires_grad=True) for _ in range(2))
    with LargestTensor() as seen, tiles_of(edge):
        loss_of(first, second, 0.1, edge=edge, **options).backward()
    return seen.elements


def test_the_meter_sees_what_the_definition_needs():
    """Otherwise the next test would prove nothing."""
    assert largest(300, 4, implementation="reference") == 600**2


@pytest.mark.parametrize("repeats", [False, True], ids=["all differ", "repeated ids"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("n", "d", "edge"), [(200, 4, 64), (800, 4, 64), (200, 48, 32)])
def test_no_tensor_grows_with_the_square_of_the_batch(n, d, edge, form, repeats):
    """The largest is a tile, or the views themselves."""
    ids = torch.arange(n) // 3 if repeats else None
    assert largest(n, d, edge, form=form, ids=ids) <= max(edge**2, 2 * n * d)
