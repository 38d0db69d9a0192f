r"""Disentangled attention: tokens read tokens, and both read how far apart they are.

k strings of L tokens in a group, h heads, d width of a head, C = 2 L - 1 distances.
    query, key, value (h, k, L, d), the distances' keys K and queries Q (h, C, d)  ->  (h, k, L, d)

    score_ij = (q_i . k_j  +  q_i . K_b(i-j)  +  k_j . Q_b(i-j)) / sqrt(3 d)       b: the bucket of a distance
Equation 4 of He et al. 2021 (arXiv 2006.03654), with DeBERTa-v2's buckets: exact to half their number, logarithmic
beyond. The last two terms are `positions.py`'s work.

transformers' library runs this eagerly over strings padded to the longest; here strings come in groups of similar
length, what depends on distances alone is computed once for all layers, and distances that a group has not are not
computed. Weights, results (to rounding) and places of dropout are the library's.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers import DebertaV2Config
from transformers.models.deberta_v2.modeling_deberta_v2 import (
    DebertaV2Encoder,
    DisentangledSelfAttention,
    make_log_bucket_position,
)

from pretrain.encoders.attention import attention
from pretrain.encoders.positions import position_scores
from pretrain.groups import Groups

TERMS = 3
"""Of a score; their sum is scaled as one."""

Attend = Callable[[DisentangledSelfAttention, Float[Tensor, "t w"]], Float[Tensor, "t w"]]
"""A layer's weights and all tokens' states -> what the tokens read."""


class Attention(nn.Module):
    """Runs the library's attention layers over groups of strings. Has no weights of its own."""

    buckets: Int[Tensor, " C"]
    """Of all distances, from the furthest behind to the furthest ahead."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__()
        self.heads, self.span = config.num_attention_heads, config.position_buckets
        self.longest = config.max_position_embeddings
        distances = torch.arange(1 - self.longest, self.longest)
        buckets = make_log_bucket_position(distances, self.span, self.longest).long()
        self.furthest: list[int] = buckets[self.longest - 1 :].tolist()
        self.register_buffer("buckets", buckets, persistent=False)

    def over(self, groups: Groups, encoder: DebertaV2Encoder, dtype: torch.dtype) -> Attend:
        """The attention over these groups; what all layers share is computed here, once."""
        lengths = [length for _, length in groups.shapes]
        reach = self.furthest[max(lengths) - 1]
        rows = torch.arange(self.span - reach, self.span + reach + 1, device=self.buckets.device)
        positions = encoder.LayerNorm(encoder.rel_embeddings(rows))
        masks, distances = groups.masks(dtype), [self.distances(length) + reach for length in lengths]

        def attend(weights: DisentangledSelfAttention, states: Tensor) -> Tensor:
            scale = 1 / math.sqrt(TERMS * weights.attention_head_size)
            far = weights.pos_dropout(positions)
            far_keys, far_queries = weights.key_proj(far), weights.query_proj(far) * scale
            parts = (weights.query_proj(states) * scale, weights.key_proj(states), weights.value_proj(states))
            read = []
            for *one, mask, between in zip(*map(groups.spread, parts), masks, distances, strict=True):
                query, key, value = map(self._split, one)
                keys, queries = (
                    self._split(embedding(order, table))
                    for order, table in ((between.flip(0), far_keys), (between, far_queries))
                )
                bias = position_scores(query, key, keys, queries) + mask
                found = attention(query, key, value, bias, weights.dropout.p if weights.training else 0.0)
                read.append(found.permute(1, 2, 0, 3).flatten(2))
            return groups.pack(read)

        return attend

    def distances(self, length: int) -> Int[Tensor, " C"]:
        """The bucket of each distance i - j, from 1 - L to L - 1."""
        return self.buckets[self.longest - length : self.longest + length - 1]

    def _split(self, states: Float[Tensor, "*b w"]) -> Float[Tensor, "h *b d"]:
        """Heads first, and each by itself in memory."""
        return states.unflatten(-1, (self.heads, -1)).movedim(-2, 0).contiguous()
