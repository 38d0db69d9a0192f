"""Attention with a bias that learns: the one that both kinds of transformer here end in.

    query (already scaled), key, value (h, k, L, d), bias (h, k, L, L)  ->  (h, k, L, d)
h heads and k rows of a group come first; d is the width of a head. A bias of minus infinity masks.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import dropout, scaled_dot_product_attention


def attention(
    query: Float[Tensor, "h k L d"],
    key: Float[Tensor, "h k L d"],
    value: Float[Tensor, "h k L d"],
    bias: Float[Tensor, "h k L L"],
    drop: float,
) -> Float[Tensor, "h k L d"]:
    """softmax(q k^T + bias) v, the weights dropped with probability `drop`.

    On a CPU torch has no kernel for a bias with a gradient, and its fallback is slower than these plain calls.
    """
    if query.is_cuda:
        return scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=drop, scale=1.0)
    flat_query, flat_key, flat_value, flat_bias = (part.flatten(0, 1) for part in (query, key, value, bias))
    weights = dropout(torch.baddbmm(flat_bias, flat_query, flat_key.mT).softmax(-1), drop)
    return weights.bmm(flat_value).view(query.shape)
