"""The systems, by the name that a configuration gives. None imports another: what two share becomes a block.

A system is built from a `Design`, says by `needs(design)` what it reads, and maps `Inputs` to (n, t).
"""

from typing import Protocol

from torch import nn

from finetune.config import SystemName
from finetune.design import Design
from finetune.inputs import Needs
from finetune.systems.lgm_cl import LgmCl


class System(Protocol):
    """What `SYSTEMS` holds: the class of an `nn.Module`."""

    @staticmethod
    def needs(design: Design) -> Needs:
        """What must be computed for it."""

    def __call__(self, design: Design) -> nn.Module:
        """Build one; its forward is `Inputs -> Float[Tensor, "n t"]`."""


SYSTEMS: dict[SystemName, System] = {SystemName.lgm_cl: LgmCl}


def needs_of(design: Design) -> Needs:
    """What the chosen system reads."""
    return SYSTEMS[design.system].needs(design)
