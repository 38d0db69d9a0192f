"""With which weights an encoder begins, and which of them fine-tuning changes.

    folder, pretrained=none|graph|text|both, seed  ->  an Encoder; random weights depend on the seed alone
    freeze, train_layers                           ->  the parameters that learn
LGM-CL's Fig. 6 compares the four choices of `pretrained` (arXiv 2601.22610): a stream without pretrained weights is
the same encoder with random ones.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from finetune.config import Pretrained
from pretrain.encoder import Encoder
from pretrain.model import STREAMS
from sharding.errors import UserError


def load_encoder(folder: Path, pretrained: Pretrained, seed: int) -> Encoder:
    """The folder's encoder; streams that are not asked for have random weights."""
    if pretrained == Pretrained.both:
        return Encoder.load(folder)
    torch.manual_seed(seed)
    encoder = Encoder.load(folder, weights=False)
    if pretrained == Pretrained.none:
        return encoder
    learned = Encoder.load(folder)
    streams = encoder.model.streams
    if pretrained.value not in streams:
        raise UserError(
            f"pretrained={pretrained}: {folder} has no {pretrained} stream. It has: {', '.join(streams)}."
        )
    if [pretrained.value] == streams:
        return learned
    for view in STREAMS[pretrained.value]:
        for taken, given in (
            (encoder.model.encoders, learned.model.encoders),
            (encoder.model.heads, learned.model.heads),
        ):
            taken[view].load_state_dict(given[view].state_dict())
    return encoder


def let_learn(encoder: Encoder, views: Iterable[str], last_layers: int) -> nn.ModuleDict:
    """The encoders of these views, with gradients in their last layers only (0: everywhere).

    The projection heads belong to pretraining, other views to nobody here. Expects that nothing else learns.
    """
    chosen = nn.ModuleDict({view: encoder.model.encoders[view] for view in views})
    for view, module in chosen.items():
        layers, after = _layers(view, module)
        if last_layers == 0 or last_layers >= len(layers):
            module.requires_grad_(True)
            continue
        for part in (*layers[-last_layers:], after):
            for learning in part:
                learning.requires_grad_(True)
    return chosen


def _layers(view: str, module: Any) -> tuple[list[list[nn.Module]], list[nn.Module]]:
    """The modules of each layer from first to last, and of what comes after the last."""
    if view == "local":
        rest = zip(module.atom_convs, module.atom_grus, strict=True)
        return [[module.gate_conv, module.gru], *map(list, rest)], [module.mol_conv, module.mol_gru]
    if view == "global":
        return [[layer] for layer in module.layers], [module.norm]
    return [[layer] for layer in module.transformer.encoder.layer], []
