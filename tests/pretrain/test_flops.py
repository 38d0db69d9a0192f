"""Model FLOPs against torch's own counter, on molecules without padding."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pretrain.batch import RELATIONS, collate
from pretrain.config import LossConfig, ModelConfig, Streams
from pretrain.encoders.positions import blocks
from pretrain.flops import PEAKS, peak_flops, peak_of, step_flops
from pretrain.model import TwoStreams, Vocabularies
from tests.pretrain.conftest import TINY


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("streams", [["graph"], ["text"]])
def test_flops_are_what_torch_counts(others, tokenizers, streams, backward):
    """The same molecule many times over has no padding; what the formulas leave out is added here by name.

    The counter sees products of matrices alone: not the sums over bonds, softmax, norms or activations.
    """
    batch = collate(others.take(np.zeros(12, np.int64)))
    config = ModelConfig(**TINY)
    loss = LossConfig(streams=Streams(streams[0]))
    sizes = Vocabularies(tokenizers.smiles.size, tokenizers.text.size)
    model = TwoStreams(config, loss, sizes)
    with FlopCounterMode(display=False) as counter:
        projections, _ = model(batch)
        if backward:
            sum(rows.sum() for rows in projections.values()).backward()
    expected = step_flops(config, streams, batch, backward=backward)
    if "graph" in streams:  # relations are looked up by a product, one factor of which is data
        looked_up = 2 * batch.nodes.pairs * RELATIONS * config.global_heads * config.global_layers
        expected += (2 if backward else 1) * looked_up
    if "text" in streams:
        beside = sum(left_out(config, model, view, getattr(batch, view)) for view in ("smiles", "text"))
        expected += (3 if backward else 1) * beside
    assert counter.get_total_flops() == expected


def left_out(config, model, view, strings):
    """Distances' keys and queries, which do not grow with the batch, and distances that a block has in vain."""
    attention, w = model.encoders[view].attention, config.text_hidden
    length = strings.groups.shapes[0][1]
    tables = 2 * 2 * (2 * attention.furthest[length - 1] + 1) * w * w
    in_vain = 0
    for k, length in strings.groups.shapes:
        for rows, distances in blocks(torch.empty(1, k, length, 1)):
            in_vain += 2 * 2 * w * k * (rows.stop - rows.start) * (distances.stop - distances.start - length)
    return config.text_layers * (tables + in_vain)


def test_a_device_that_is_not_known_has_no_peak():
    assert peak_flops(torch.device("cpu"), torch.float32) is None
    for name, peak in (
        ("NVIDIA H200", 989.5e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 80GB HBM3", 989.5e12),
        ("NVIDIA Unheard Of", None),
    ):
        assert peak_of(name, torch.bfloat16) == peak
    assert all(peaks[torch.float32] < peaks[torch.bfloat16] < 1e15 for peaks in PEAKS.values())
