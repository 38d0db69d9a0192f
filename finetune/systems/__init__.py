"""The systems that read an encoder's views, by the name that a configuration gives.

None imports another: what two of them share becomes a block.
"""

from torch import nn

from finetune.config import SystemName
from finetune.systems.lgm_cl import LgmCl

SYSTEMS: dict[SystemName, type[nn.Module]] = {SystemName.lgm_cl: LgmCl}
"""Each is built as `(widths={view: w}, targets=t, hidden=h, dropout=p)` and maps {view: (n, w)} to (n, t)."""
