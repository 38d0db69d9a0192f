"""Floating-point operations of a step, and how many a device can do: what MFU is made of.

n molecules of a atoms and e directed edges; m = a + n nodes, t tokens; p pairs, the sum of squared sizes; widths h, w.
    (sizes of the model, streams, Batch)  ->  operations, a product of matrices (i, j) and (j, k) counting 2 i j k
Model FLOPs: what the definition needs on real atoms, edges and tokens. Padding, chunks' second forward, distances'
products in vain, tables that do not grow with the batch, and whatever is no product of matrices are left out, and so
is the loss, which benchmarks/ntxent measures. A backward is two products for each of the forward, one where the
input is data. Shapes alone are read: nothing waits for a device.
"""

from collections.abc import Collection

import torch

from pretrain.batch import Batch, Strings
from pretrain.config import ModelConfig
from sharding.feature_table import ATOM_INPUTS, BOND_INPUTS

PEAKS: dict[str, dict[torch.dtype, float]] = {
    "H200 NVL": {torch.bfloat16: 835.5e12, torch.float32: 60e12},
    "H200": {torch.bfloat16: 989.5e12, torch.float32: 67e12},
    "H100 NVL": {torch.bfloat16: 835.5e12, torch.float32: 60e12},
    "H100 PCIe": {torch.bfloat16: 756e12, torch.float32: 51e12},
    "H100": {torch.bfloat16: 989.5e12, torch.float32: 67e12},
    "A100": {torch.bfloat16: 312e12, torch.float32: 19.5e12},
    "L40S": {torch.bfloat16: 362e12, torch.float32: 91.6e12},
    "RTX 4090": {torch.bfloat16: 165.2e12, torch.float32: 82.6e12},
    "RTX 3090": {torch.bfloat16: 71e12, torch.float32: 35.6e12},
}
"""Operations a second by a part of the device's name, the first that fits: dense (a data sheet's number with sparsity
is twice that), float32 accumulation, float32 without TF32, which torch leaves off. From NVIDIA's data sheets of H200,
H100, A100 and L40S and the whitepapers of the Ada and GA102 architectures."""


def step_flops(config: ModelConfig, streams: Collection[str], batch: Batch, *, backward: bool = True) -> int:
    """Of encoders and projection heads on this batch; `streams` as in pretrain.model.STREAMS."""
    first = deeper = 0
    if "graph" in streams:
        first += 2 * (
            2 * len(batch.atoms) * ATOM_INPUTS * config.graph_hidden
        )  # the first layer of both views
        deeper += _local(config, batch) + _global(config, batch)
        deeper += 2 * _head(config.graph_hidden, config, batch.size)
    if "text" in streams:
        tokens = len(batch.smiles.tokens) + len(batch.text.tokens)
        first += 2 * tokens * config.text_hidden  # a string's mean: its other factor is data
        deeper += _text(config, batch.smiles) + _text(config, batch.text)
        deeper += 2 * _head(config.text_hidden, config, batch.size)
    return 2 * first + 3 * deeper if backward else first + deeper


def peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """What the device can do a second at best in this dtype; None where no data sheet is at hand."""
    if device.type != "cuda":
        return None
    return peak_of(torch.cuda.get_device_name(device), dtype)


def peak_of(name: str, dtype: torch.dtype) -> float | None:
    """`peak_flops` of a device of this name."""
    return next((peaks.get(dtype) for part, peaks in PEAKS.items() if part in name), None)


def _local(config: ModelConfig, batch: Batch) -> int:
    """AttentiveFP after its first layer."""
    h, n, a, e = config.graph_hidden, batch.size, len(batch.atoms), batch.edges.shape[1]
    memory = 2 * 6 * h * h  # a GRU: three gates of state and message
    reads_bonds = e * 2 * ((h + BOND_INPUTS) * h + h * h + 2 * h)  # neighbour, message, two scores
    layers = config.local_layers * a * memory + (config.local_layers - 1) * a * 2 * h * h
    readout = config.local_readout_steps * ((a + n) * 2 * h * h + n * memory)
    return reads_bonds + layers + readout


def _global(config: ModelConfig, batch: Batch) -> int:
    """Graph Transformer after its first layer."""
    h, nodes = config.graph_hidden, len(batch.atoms) + batch.size
    linear = nodes * 2 * (4 * h * h + 2 * 4 * h * h)  # query, key, value, output; feed-forward of width 4 h
    return config.global_layers * (linear + batch.nodes.pairs * 2 * 2 * h)  # scores and values


def _text(config: ModelConfig, strings: Strings) -> int:
    """DeBERTa."""
    w, t, p = config.text_hidden, len(strings.tokens), strings.groups.pairs
    linear = t * 2 * (4 * w * w + 2 * w * config.text_feedforward)
    return config.text_layers * (linear + p * 2 * 4 * w)  # three scores, and values


def _head(width: int, config: ModelConfig, n: int) -> int:
    """A projection head."""
    return n * 2 * (width * width + width * config.projection)
