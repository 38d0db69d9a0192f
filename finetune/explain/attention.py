r"""What the fingerprint reads: which atoms, which symbols of the SMILES, which words of the description.

n molecules, k fingerprint words (MACCS, PubChem, ErG), h heads, X the rows of a stream's two views side by side.
    WordAttention, rows, words  ->  (n, h, k, X): p_ij of equation (2) of blocks/cross_attention.py
    FineTuned, molecules        ->  n Readings: per view (k, its rows), the mean over heads and members
The rows of a view are its read-out (the view's one vector), then its atoms or tokens. Over the views of a stream the
weights of a word add up to 1; padding has none.

The forward never makes these weights as such (it needs their products only), so they are made here a second time,
from what entered the block. A weight says what was read, not what it did to the answer: Jain and Wallace 2019
(arXiv 1902.10186). `shares` and `atoms` answer that question.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from finetune.blocks.cross_attention import WordAttention
from finetune.config import Fusion
from finetune.inputs import States
from finetune.model import FineTuned, Member
from finetune.readers import Source, encoded_each_time, pieces
from sharding.featurize import Featurized
from sharding.progress import ProgressLine
from sharding.tokens import TokenizerFolder

AT_A_TIME = 64
WORD = re.compile(r"[\w\-]+|[^\w\s]")


@dataclass(eq=False)
class Reading:
    """What each fingerprint reads of one molecule: {view: (k, 1 + atoms or tokens)}."""

    weights: dict[str, Float64[NDArray, "k _"]] = field(default_factory=dict)

    @property
    def atoms(self) -> Float64[NDArray, "k a"]:
        """Of each atom, in both graph views."""
        return sum(self.weights[view][:, 1:] for view in ("local", "global") if view in self.weights)  # type: ignore[return-value]

    def rows(self, views: Sequence[str]) -> int:
        """How many rows these views have in all: an even reader gives each one part of so many."""
        return sum(self.weights[view].shape[1] for view in views)


def reads(model: FineTuned) -> bool:
    """Whether there is a fingerprint that attends to something."""
    return (
        model.design.fusion == Fusion.cross_attention
        and model.design.fingerprint
        and bool(model.design.views)
    )


@torch.inference_mode()
def readings(model: FineTuned, molecules: Featurized) -> list[Reading]:
    """Of each molecule, in order; for a model that `reads`."""
    found = [Reading() for _ in range(len(molecules.molecules))]
    with ProgressLine("attention", len(found) * len(model.members)) as line:
        for member in model.members:
            _add(member, molecules, found, 1 / len(model.members), line)
    return found


def _add(
    member: Member, molecules: Featurized, found: list[Reading], share: float, line: ProgressLine
) -> None:
    source = Source(molecules.molecules, molecules.fingerprints, member.needs)
    read = encoded_each_time(member.encoder, source)
    member.encoder.model.eval()
    member.system.eval()
    for rows in pieces(len(found), AT_A_TIME):
        with _entered(member) as entered:
            inputs = read(rows)
            member.system(inputs)
        order = rows[np.argsort(inputs.place.cpu().numpy())]  # as the batch stands
        for stream, (block, x, words) in entered.items():
            weights = word_weights(block, x, words).mean(1)
            flat = x.rows_of(weights.transpose(1, 2)).double().cpu().numpy() * share
            sizes = {view: source.sizes(view)[order] for view in member.design.of(stream)}
            for view, part in zip(sizes, _cut(flat, [size.sum() for size in sizes.values()]), strict=True):
                for molecule, own in zip(order, _cut(part, sizes[view]), strict=True):
                    known = found[molecule].weights
                    known[view] = known[view] + own.T if view in known else own.T
        line.advance(len(rows))


def word_weights(block: WordAttention, x: States, words: Float[Tensor, "n k d"]) -> Float[Tensor, "n h k X"]:
    """The softmax over a molecule's rows, for each word and head."""
    norm_x, norm_words = block.norms
    queries = torch.einsum("nkd,hed->nhke", norm_words(words), block.weight(1, 0))
    keys = torch.einsum("nxd,hed->nhxe", x.matrix(norm_x(x.rows)), block.weight(0, 1))
    scores = queries @ keys.transpose(2, 3) * (block.width / block.heads) ** -0.5
    return scores.masked_fill(~x.whole.present[:, None, None], -torch.inf).softmax(-1)


@contextmanager
def _entered(member: Member) -> Iterator[dict[str, tuple[WordAttention, States, Tensor]]]:
    """{stream: block, rows, words} of the system's next forward."""
    found: dict[str, tuple[WordAttention, States, Tensor]] = {}

    def keep(stream: str) -> Any:
        def hook(block: nn.Module, given: tuple[States, Tensor]) -> None:
            assert isinstance(block, WordAttention)
            found[stream] = (block, *given)

        return hook

    blocks: Any = member.system.attention
    handles = [block.register_forward_pre_hook(keep(stream)) for stream, block in blocks.between.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _cut(rows: NDArray[np.float64], sizes: Sequence[int] | NDArray[np.int64]) -> list[NDArray[np.float64]]:
    return np.split(rows, np.cumsum(sizes)[:-1])


@dataclass(frozen=True, eq=False)
class Word:
    """A word or symbol where it stands in the string, its tokens, and what each fingerprint reads of them (k,)."""

    begin: int
    end: int
    tokens: int
    weights: Float64[NDArray, " k"]


def spelled(
    text: str, folder: TokenizerFolder, weights: Float64[NDArray, "k 1+t"], *, symbols: bool = False
) -> list[Word]:
    """The words of a description, or the symbols of a SMILES, with the weights of their tokens added up.

    End markers and read-outs belong to no word; what was cut off at the longest length has no token and is left out.
    """
    spans = _opened(folder).encode(text).offsets[1 : weights.shape[1] - 2]
    if symbols:
        places = spans
    else:
        places = [match.span() for match in WORD.finditer(text)]
    found: dict[int, list[int]] = {}
    word = 0
    for token, (_, end) in enumerate(spans, 2):  # after the read-out and the start marker
        while word < len(places) - 1 and places[word][1] < end:
            word += 1
        found.setdefault(word, []).append(token)
    return [Word(*places[word], len(tokens), weights[:, tokens].sum(1)) for word, tokens in found.items()]


def _opened(folder: TokenizerFolder) -> Tokenizer:
    return Tokenizer.from_file(str(folder.folder / "tokenizer.json"))
