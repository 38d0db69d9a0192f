r"""LGM-CL's light stage: two encoders a stream, three fingerprints, and attention between all of them.

n molecules, t targets, d width of the fusion, h hidden; views local and global (graph), smiles and text (text).
    Inputs of n molecules  ->  (n, t): scaled values (regression) or logits (classification)

fusion=cross_attention, where A_v are the states of view v (its vector, then its atoms or tokens), F three words:
    X_v  = W_v LN(A_v)                                                 every view in one width              (1)
    within a modality that has two views, u and v:
    X_u <- X_u + read(X_u, X_v),   X_v <- X_v + read(X_v, X_u)         local and global; SMILES and text    (2)
    between, with X_m the rows of both views of modality m side by side:
    F   <- F + read(F, X_graph) + read(F, X_text)                      the fingerprint reads both           (3)
    X_m <- X_m + read(X_m, F)                                          and both read the fingerprint        (4)
    z    = [LN(mean X_local) ; LN(mean X_global) ; LN(mean X_smiles) ; LN(mean X_text) ; LN(mean F)]        (5)
    answer = W_2 GELU(W_1 z + b_1) + b_2                               the task MLP                         (6)
`read` is equation (1) of blocks/cross_attention.py. Without the fingerprint there is no middle: graph and text read
each other in place of (3) and (4). One modality alone has (1), (2), (5), (6).

fusion=concatenation or sum, the paper's Fig. 7: z from the encoders' vectors and the mean word, without (1) to (4).

The paper says (arXiv 2601.22610, fine-tuning): 50 epochs; intra-modality cross-attention (local and global; SMILES
and text); an MLP over MACCS, PubChem and ErG; dual cross-attention with the fingerprint in the middle; a task MLP;
encoders frozen or not; ablations of modality (Table 5), pretraining (Fig. 6) and fusion (Fig. 7).
The paper is silent on: widths, heads, dropout, learning rates, early stopping, what attends to what inside (2) to (4)
and in which order, what is left of the fusion without the fingerprint.
We chose: atoms and tokens attend, not pooled vectors, whose softmax would be 1; a view's own vector is one of its
rows; what comes before the projection heads is read (as SimCLR does); (3) reads both modalities at once, so none
comes first; a LayerNorm wherever vectors of different origin meet.
"""

from jaxtyping import Float
from torch import Tensor, nn

from finetune.blocks.cross_attention import CrossAttention, WordAttention
from finetune.blocks.fingerprint import FingerprintWords
from finetune.blocks.fusion import Concatenation, Sum
from finetune.config import Fusion
from finetune.design import Design
from finetune.inputs import Inputs, Needs, States, apart, beside
from pretrain.model import STREAMS

FINGERPRINT = "fingerprint"
"""The name of the mean word among the vectors."""


class LgmCl(nn.Module):
    """(1) to (6)."""

    @staticmethod
    def needs(design: Design) -> Needs:
        """States for attention, vectors for the other fusions."""
        views, attends = tuple(design.views), design.fusion == Fusion.cross_attention
        return Needs(() if attends else views, views if attends else (), design.fingerprints)

    def __init__(self, design: Design) -> None:
        super().__init__()
        attends = design.fusion == Fusion.cross_attention
        widths = {view: design.width if attends else design.sizes[view] for view in design.views}
        self.words = _words(design)
        self.attention = _Attention(design) if attends else None
        if self.words is not None:
            widths[FINGERPRINT] = design.width
        self.fusion = Sum(widths, design.width) if design.fusion == Fusion.sum else Concatenation(widths)
        self.mlp = nn.Sequential(
            nn.Dropout(design.dropout),
            nn.Linear(self.fusion.width, design.hidden),
            nn.GELU(),
            nn.Dropout(design.dropout),
            nn.Linear(design.hidden, len(design.targets)),
        )

    def forward(self, inputs: Inputs) -> Float[Tensor, "n t"]:
        """(5) and (6)."""
        return self.mlp(self.fusion(self.vectors(inputs)))

    def vectors(self, inputs: Inputs) -> dict[str, Float[Tensor, "n _"]]:
        """What the fusion puts together, by name: the views, and `fingerprint`."""
        words = None if self.words is None else self.words(inputs.fingerprints)
        vectors = dict(inputs.vectors)
        if self.attention is not None:
            states, words = self.attention(inputs.states, words)
            vectors = {view: each.mean() for view, each in states.items()}
        if words is not None:
            vectors[FINGERPRINT] = words.mean(1)
        return vectors


class _Attention(nn.Module):
    """(1) to (4)."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        sizes = (design.width, design.heads)
        self.views = {stream: design.of(stream) for stream in STREAMS if design.of(stream)}
        self.enter = nn.ModuleDict(
            {
                view: nn.Sequential(
                    nn.LayerNorm(design.sizes[view]), nn.Linear(design.sizes[view], design.width)
                )
                for view in design.views
            }
        )
        self.within = nn.ModuleDict(
            {stream: CrossAttention(*sizes) for stream, views in self.views.items() if len(views) == 2}
        )
        self.between = nn.ModuleDict()
        if design.fingerprint:
            self.between.update({stream: WordAttention(*sizes) for stream in self.views})
        elif len(self.views) == 2:
            self.between["pair"] = CrossAttention(*sizes)

    def forward(
        self, given: dict[str, States], words: Float[Tensor, "n k d"] | None
    ) -> tuple[dict[str, States], Float[Tensor, "n k d"] | None]:
        """The views' states and the words after everybody has read."""
        states = {view: given[view].become(enter(given[view].rows)) for view, enter in self.enter.items()}
        modalities = {stream: [states[view] for view in views] for stream, views in self.views.items()}
        for stream, block in self.within.items():
            sides = modalities[stream]
            modalities[stream] = [
                side.become(side.rows + read) for side, read in zip(sides, block(*sides), strict=True)
            ]
        after, words = self._between({name: beside(parts) for name, parts in modalities.items()}, words)
        for stream, views in self.views.items():
            states.update(zip(views, apart(after[stream], modalities[stream]), strict=True))
        return states, words

    def _between(
        self, rows: dict[str, States], words: Float[Tensor, "n k d"] | None
    ) -> tuple[dict[str, Float[Tensor, "r d"]], Float[Tensor, "n k d"] | None]:
        """(3) and (4), or graph and text alone."""
        after = {stream: each.rows for stream, each in rows.items()}
        if words is None:
            for block in self.between.values():
                for stream, read in zip(rows, block(*rows.values()), strict=True):
                    after[stream] = after[stream] + read
            return after, None
        middle = words
        for stream, block in self.between.items():
            read, answer = block(rows[stream], middle)
            after[stream] = after[stream] + read
            words = words + answer
        return after, words


def _words(design: Design) -> FingerprintWords | None:
    lengths = {name.value: design.sizes[name] for name in design.fingerprints}
    return FingerprintWords(lengths, design.hidden, design.width, design.dropout) if lengths else None
