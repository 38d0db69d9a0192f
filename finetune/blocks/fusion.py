"""Fusion: named vectors of a molecule become one.

n molecules, v vectors of width w (each its own).
    {name: (n, w)}  ->  (n, sum of w)  concatenation:  [LN(x_1) ; ... ; LN(x_v)]
                    ->  (n, d)         sum:            W_1 LN(x_1) + ... + W_v LN(x_v)
LGM-CL compares sum, concatenation and cross-attention (arXiv 2601.22610, Fig. 7) and is silent on norms. A LayerNorm
each, because encoders give different scales and the largest would decide. The order is the constructor's.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Concatenation(nn.Module):
    """Side by side."""

    def __init__(self, widths: dict[str, int]) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name, width in widths.items()})
        self.width = sum(widths.values())

    def forward(self, vectors: dict[str, Float[Tensor, "n _"]]) -> Float[Tensor, "n _"]:
        """Other names than the constructor's are not read."""
        return torch.cat([norm(vectors[name]) for name, norm in self.norms.items()], dim=-1)


class Sum(nn.Module):
    """Carried into a common width and added."""

    def __init__(self, widths: dict[str, int], width: int) -> None:
        super().__init__()
        self.maps = nn.ModuleDict(
            {name: nn.Sequential(nn.LayerNorm(own), nn.Linear(own, width)) for name, own in widths.items()}
        )
        self.width = width

    def forward(self, vectors: dict[str, Float[Tensor, "n _"]]) -> Float[Tensor, "n d"]:
        """Other names than the constructor's are not read."""
        return torch.stack([carry(vectors[name]) for name, carry in self.maps.items()]).sum(0)
