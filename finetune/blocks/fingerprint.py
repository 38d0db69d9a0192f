"""Fingerprints as words: each fingerprint becomes one vector, which attention can read and which can read.

n molecules, k fingerprints, b the length of one (MACCS 167, PubChem 881, ErG 441), d width.
    {name: (n, b)} as sharding.fingerprint makes them  ->  (n, k, d)

    word = W_2 GELU(W_1 scaled + b_1) + b_2,   scaled = bits, or log(1 + ErG) from ErG's tenths
The paper says (arXiv 2601.22610, fine-tuning): an MLP over MACCS, PubChem and ErG. The paper is silent on its sizes
and on how attention reads one vector. We chose one word a fingerprint: a word then has a name, and what
attends to it can be said in a chemist's words (keys, substructures, pharmacophores), which learned slots cannot.
It is an MLP over all 1,489 numbers whose first layer is block-diagonal. ErG's counts grow with the square of the
molecule, hence the logarithm.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sharding.config import Fingerprint

ERG_UNIT = 10.0
"""ErG is kept in tenths."""


class FingerprintWords(nn.Module):
    """One small MLP a fingerprint."""

    def __init__(self, lengths: dict[str, int], hidden: int, width: int, dropout: float) -> None:
        super().__init__()
        self.words = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(length, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width)
                )
                for name, length in lengths.items()
            }
        )

    def forward(self, fingerprints: dict[str, Float[Tensor, "n _"]]) -> Float[Tensor, "n k d"]:
        """The order of the words is that of the constructor."""
        return torch.stack([word(scaled(name, fingerprints[name])) for name, word in self.words.items()], 1)


def scaled(name: str, values: Float[Tensor, "n b"]) -> Float[Tensor, "n b"]:
    """Bits as they are; ErG's tenths on a logarithmic scale."""
    return torch.log1p(values / ERG_UNIT) if name == Fingerprint.erg else values
