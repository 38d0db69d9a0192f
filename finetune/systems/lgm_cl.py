"""LGM-CL's task head: the views of a molecule, side by side, become one number a target.

n molecules, t targets, w width of a view (each its own), v views, h hidden.
    {view: (n, w)}  ->  (n, t): scaled values (regression) or logits (classification)

The paper says (arXiv 2601.22610): fine-tuning for 50 epochs, encoders frozen or not; intra-modality
cross-attention (local and global; SMILES and text), a fingerprint MLP, dual cross-attention centred on the
fingerprint, a task MLP.
The paper is silent on: hidden sizes, dropout, learning rates, which layer's vectors are read, early stopping.
We chose: the encoders' vectors before their projection heads (as SimCLR does); a LayerNorm a view, because
four encoders give four scales and the widest would decide; one hidden layer with GELU.

Here is the task MLP over concatenated views, which is the paper's own ablation "concatenation" (Fig. 7)
without fingerprints. The cross-attentions are not in this file yet.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LgmCl(nn.Module):
    """LayerNorm a view, concatenation, MLP."""

    def __init__(self, widths: dict[str, int], targets: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({view: nn.LayerNorm(width) for view, width in widths.items()})
        self.mlp = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(sum(widths.values()), hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, targets),
        )

    def forward(self, views: dict[str, Float[Tensor, "n _"]]) -> Float[Tensor, "n t"]:
        """The order of the views is that of the constructor, whatever the dictionary's."""
        normed = [norm(views[view]) for view, norm in self.norms.items()]
        return self.mlp(torch.cat(normed, dim=-1))
