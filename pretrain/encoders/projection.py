"""The projection head: an encoder's vector -> the vector that the loss compares.

    (n, h)  ->  (n, d), not normalised (the loss does that)

After SimCLR (Chen et al. 2020, section 4.2): one hidden layer; fine-tuning uses what comes before it. No batch
normalisation, which would leak a rank's statistics into its loss.
"""

from torch import nn


def projection_head(width: int, projection: int) -> nn.Sequential:
    """Linear, GELU, linear."""
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, projection))
