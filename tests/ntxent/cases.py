"""Views to compare, and the loss under every implementation, for the tests of this folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pretrain.ntxent import ntxent_loss, tiles

FORMS = ["simclr", "clip"]

# Edges of a tile: one element; ragged, with positives on and off a tile's diagonal; equal to n; more than m.
TILED = [{"edge": 1}, {"edge": 5}, {"edge": 13}, {"edge": 512}]
IMPLEMENTATIONS = [{"implementation": "reference"}, *TILED]

REPEATED = torch.tensor([7, -2, 7, 3, 4, 5, -2, 6, 8, 9, 7, 10, 11])
"""Ids of 13 molecules: one of them three times, one twice, and the rest once."""


def views(n: int = 13, d: int = 8, noise: float = 0.5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two noisy views of n molecules in float64; 13 makes 26 rows, no multiple of any tile here but 13."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, d, dtype=torch.float64, generator=generator)
    return first, first + noise * torch.randn(n, d, dtype=torch.float64, generator=generator)


def clustered(n: int = 256, d: int = 64, noise: float = 0.25) -> tuple[Tensor, Tensor]:
    """Late training: cosine of positives about 0.97, and hard negatives from shared cluster centres."""
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    first = 0.7 * draw(n, d) + draw(16, d)[torch.randint(16, (n,), generator=generator)]
    second = first + noise * first.std() * draw(n, d)
    return first.float(), second.float()


def relative_error(value: Tensor, exact: Tensor) -> float:
    """In the Euclidean norm, over all entries."""
    return ((value.double() - exact).norm() / exact.norm()).item()


@contextmanager
def tiles_of(edge: int) -> Iterator[None]:
    """Tiles on the CPU have this edge meanwhile, so that few views make many tiles."""
    usual, tiles.EDGE["cpu"] = tiles.EDGE["cpu"], edge
    try:
        yield
    finally:
        tiles.EDGE["cpu"] = usual


def loss_of(
    first: Tensor, second: Tensor, temperature: Tensor | float, *, edge: int = 512, **options: Any
) -> Tensor:
    """The loss; its backward needs `tiles_of` once more."""
    with tiles_of(edge):
        return ntxent_loss(first, second, temperature=temperature, **options)


def loss_and_gradients(
    first: Tensor, second: Tensor, temperature: Tensor | float, *, edge: int = 512, **options: Any
) -> tuple[Tensor, ...]:
    """Loss, and its gradients by first, second and temperature; upstream is 3, so that scaling shows.

    A temperature given as a float is rounded to float32 first: the same one in every precision.
    """
    inputs = first, second, torch.as_tensor(temperature).to(first)
    leaves = [leaf.clone().requires_grad_() for leaf in inputs]
    with tiles_of(edge):
        loss = loss_of(*leaves, edge=edge, **options)
        return loss.detach(), *torch.autograd.grad(3 * loss, leaves)
