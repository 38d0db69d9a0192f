"""The projection head: an encoder's vector -> the vector that the loss compares.

    (n, h)  ->  (n, d), not normalised (the loss does that)

After SimCLR (Chen et al. 2020, section 4.2): one hidden layer; fine-tuning uses what comes before it. No batch
normalisation, which would leak a rank's statistics into its loss.
"""

from jaxtyping import Float
from torch import Tensor, nn


class ProjectionHead(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, projection: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.activation = nn.GELU()
        self.outer = nn.Linear(width, projection)

    def hidden(self, vectors: Float[Tensor, "n h"]) -> Float[Tensor, "n h"]:
        """What the last layer reads."""
        found: Tensor = self.activation(self.inner(vectors))
        return found

    def forward(self, vectors: Float[Tensor, "n h"]) -> Float[Tensor, "n d"]:
        """The vectors that the loss compares."""
        projected: Tensor = self.outer(self.hidden(vectors))
        return projected
