r"""Cross-attention: two sets of states of a molecule read each other, as atoms and tokens, or tokens and words.

n molecules, r and s rows (States, see finetune/inputs.py), X and Y the largest molecule's, d width, h heads.
    x States (r, d), y States (s, d)  ->  what x read (r, d), what y read (s, d); the caller adds them

    read_i = sum over heads of  W_o  sum_j p_ij W_v y_j                                                     (1)
    p_ij   = softmax over the rows j of the same molecule of  (W_q x_i) . (W_k y_j) / sqrt(d / h)           (2)
x and y are normalised first (LayerNorm). Each side has weights of its own. Padding is never read, and nothing
is returned for it: States have none.

`WordAttention` computes the same where y is a few words a molecule. There W_q, W_k, W_v and W_o meet the words
and not the many rows: (W_q x) . (W_k y) = x . (W_q' W_k y), and likewise for the values. Same numbers up to
rounding, and the price of a row falls from 4 d^2 to 2 h k d for k words.

The paper says (arXiv 2601.22610, fine-tuning): cross-attention between local and global, between SMILES and text,
and between the fingerprint and each. The paper is silent on what attends: with one pooled vector a side the softmax
has one key, is always 1, and (1) is a linear map. We chose atoms and tokens; no biases in q, k and v (so that the
products above are products of matrices), no dropout and no feed-forward: the task MLP follows, and has both.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from finetune.inputs import States


class CrossAttention(nn.Module):
    """Both directions of (1); the plain form, for two large sets."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.query_key_value = nn.ModuleList(nn.Linear(width, 3 * width, bias=False) for _ in range(2))
        self.outputs = nn.ModuleList(nn.Linear(width, width) for _ in range(2))

    def forward(self, x: States, y: States) -> tuple[Float[Tensor, "r d"], Float[Tensor, "s d"]]:
        """What x reads of y, and what y reads of x; x has the first of all weights, y the second."""
        of_x, of_y = (
            [self.split(group) for group in side.pad(weights(norm(side.rows)))]
            for side, norm, weights in zip((x, y), self.norms, self.query_key_value, strict=True)
        )
        return self.outputs[0](self._read(x, of_x, y, of_y)), self.outputs[1](self._read(y, of_y, x, of_x))

    @staticmethod
    def _read(reader: States, own: list[Tensor], other: States, theirs: list[Tensor]) -> Float[Tensor, "r d"]:
        """(1) without W_o, group by group; queries, keys and values are made."""
        read = [
            scaled_dot_product_attention(mine[0], its[1], its[2], attn_mask=group.present[:, None, None])
            for mine, its, group in zip(own, theirs, other.groups, strict=True)
        ]
        return reader.pack([group.transpose(1, 2).flatten(2) for group in read])

    def split(self, values: Float[Tensor, "k L 3*d"]) -> Float[Tensor, "3 k h L _"]:
        """Queries, keys and values, heads apart."""
        return values.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def weight(self, side: int, which: int) -> Float[Tensor, "h e d"]:
        """W_q, W_k or W_v (0, 1, 2) of a side, head by head."""
        merged = self.query_key_value[side].weight
        assert isinstance(merged, Tensor)
        return merged.unflatten(0, (3, self.heads, -1))[which]


class WordAttention(CrossAttention):
    """The same with x any states and y a few words of each molecule, as many for all."""

    def forward(self, x: States, words: Float[Tensor, "n k d"]) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """What the rows read of the words (r, d), and the words of the rows (n, k, d)."""
        norm_x, norm_y = self.norms
        output = self.outputs[0]
        assert isinstance(output, nn.Linear)
        out = output.weight.T.unflatten(0, (self.heads, -1))
        rows, words = x.matrix(norm_x(x.rows)), norm_y(words)
        keys = self._carry(words, self.weight(1, 1), self.weight(0, 0))
        queries = self._carry(words, self.weight(1, 0), self.weight(0, 1))
        values = self._carry(words, self.weight(1, 2), out).flatten(1, 2)
        scale = (self.width / self.heads) ** -0.5
        of_rows, of_words = (
            torch.stack([keys, queries]).flatten(2, 3) * scale @ rows.transpose(1, 2)
        ).unbind()
        shares = of_rows.unflatten(1, (self.heads, -1)).softmax(2).flatten(1, 2)  # (n, h k, L)
        x_read = x.rows_of(shares.transpose(1, 2) @ values) + output.bias
        shares = of_words.masked_fill(~x.whole.present[:, None], -torch.inf).softmax(-1)
        read = (shares @ rows).unflatten(1, (self.heads, -1))
        y_read = torch.einsum("nhkd,hed->nkhe", read, self.weight(0, 2)).flatten(2)
        return x_read, self.outputs[1](y_read)

    def _carry(self, words: Tensor, here: Tensor, there: Tensor) -> Float[Tensor, "n h k w"]:
        """Words by one side's weights, then head by head by the transposed ones of the other: W_there' W_here y."""
        return torch.einsum("nkd,hed,hef->nhkf", words, here, there)
