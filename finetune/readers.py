"""From molecules to what a system reads: encoded once and kept, or encoded with every batch.

m molecules, rows (k,) of a batch.
    Molecules, fingerprints {name: (m, b)}, Needs  ->  a function: rows (k,) -> Inputs of k molecules
A frozen encoder says the same in every epoch, so its states are kept where they fit into memory: float32, one row
an atom or token and nothing for padding. Half precision would hold twice as many molecules, but then a saved
model, which encodes anew, would not repeat its predictions to the last digits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from numpy.typing import NDArray
from torch import Tensor

from finetune.inputs import Inputs, Needs, States, ragged
from pretrain.batch import collate
from pretrain.encoder import Encoder
from sharding.columns import Molecules, offsets
from sharding.progress import ProgressLine

ReadInputs = Callable[[Int[NDArray, " k"]], Inputs]
"""Rows of some molecules -> what the system reads of them, on the encoder's device."""
BATCH = 256
"""Molecules encoded at a time where nothing is trained."""


@dataclass(frozen=True, eq=False)
class Source:
    """m molecules with their fingerprints (m, b), which are made once with the molecules' other columns."""

    molecules: Molecules
    fingerprints: Mapping[str, NDArray[np.unsignedinteger]]
    needs: Needs

    def sizes(self, view: str) -> Int[NDArray, " m"]:
        """Rows of each molecule's states: one for its vector, one an atom or token."""
        tokens = {"smiles": self.molecules.n_smiles_tokens, "text": self.molecules.n_text_tokens}
        return tokens.get(view, self.molecules.n_atoms).astype(np.int64) + 1

    def order(self, rows: Int[NDArray, " k"]) -> Int[NDArray, " k"]:
        """By the number of rows that are read, so that neighbours are alike; as they come where none is read."""
        count = sum((self.sizes(view)[rows] for view in self.needs.states), np.zeros(len(rows), np.int64))
        return np.argsort(count, kind="stable")

    def inputs(
        self,
        rows: Int[NDArray, " k"],
        order: Int[NDArray, " k"],
        device: torch.device,
        vectors: dict[str, Tensor],
        states: dict[str, States],
    ) -> Inputs:
        """With the fingerprints of these molecules, which are in this order."""
        numbers = {
            name.value: torch.from_numpy(self.fingerprints[name][rows[order]].astype(np.float32)).to(device)
            for name in self.needs.fingerprints
        }
        return Inputs(torch.from_numpy(np.argsort(order)).to(device), vectors, states, numbers)

    def bytes(self, widths: Mapping[str, int]) -> int:
        """What `encoded_once` would hold, in float32, of views of these widths."""
        numbers = sum(len(self.molecules) * widths[view] for view in self.needs.vectors)
        return 4 * (numbers + sum(int(self.sizes(view).sum()) * widths[view] for view in self.needs.states))


def encoded_each_time(encoder: Encoder, source: Source) -> ReadInputs:
    """Runs the encoder on each batch, in the mode that it is in, with gradients where they are enabled."""
    device, needs = device_of(encoder), source.needs

    def read(rows: NDArray[np.int64]) -> Inputs:
        order = source.order(rows)
        if not needs.views:
            return source.inputs(rows, order, device, {}, {})
        found = encoder.model.states(collate(source.molecules.take(rows[order])).to(device), needs.views)
        vectors = {view: found[view][1].float() for view in needs.vectors}
        states = {view: _joined(*found[view], source.sizes(view)[rows[order]]) for view in needs.states}
        return source.inputs(rows, order, device, vectors, states)

    return read


def encoded_once(encoder: Encoder, source: Source, *, told: bool = True) -> ReadInputs:
    """Reads what the encoder, in evaluation mode, makes here and now; its progress is told."""
    encoder.model.eval()
    once, device, needs = encoded_each_time(encoder, source), device_of(encoder), source.needs
    count = len(source.molecules) if needs.views else 0
    kept = {view: torch.empty(0, device=device) for view in needs.vectors}
    shelves = {view: _Shelf(source.sizes(view)) for view in needs.states}
    # neighbours in size are encoded together; a few pieces of similar work make a progress line that can be believed
    by_size = source.order(np.arange(count))
    with torch.no_grad(), ProgressLine("encode", count, enabled=told and count > 0) as line:
        for rows in (by_size[piece] for piece in pieces(count)):
            made = once(rows)
            for view, vectors in made.vectors.items():
                if not len(kept[view]):
                    kept[view] = vectors.new_empty(count, vectors.shape[1])
                kept[view][torch.from_numpy(rows)] = vectors[made.place]
            for view, shelf in shelves.items():
                shelf.put(rows[source.order(rows)], made.states[view].rows)
            line.advance(len(rows))

    def read(rows: NDArray[np.int64]) -> Inputs:
        order = source.order(rows)
        sorted_rows = rows[order]
        vectors = {view: each[torch.from_numpy(sorted_rows).to(device)] for view, each in kept.items()}
        states = {view: shelf.take(sorted_rows) for view, shelf in shelves.items()}
        return source.inputs(rows, order, device, vectors, states)

    return read


def pieces(count: int, size: int = BATCH) -> list[NDArray[np.int64]]:
    """All rows, `size` at a time."""
    return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]


def device_of(encoder: Encoder) -> torch.device:
    """Where its weights are."""
    return next(encoder.model.parameters()).device


def vectors_of(inputs: Inputs, needs: Needs) -> Float32[NDArray, "n w"] | None:
    """The encoder's vectors of the views that are read, side by side, in the order asked for; None without views."""
    if not needs.views:
        return None
    parts = [
        inputs.vectors[view] if view in inputs.vectors else inputs.states[view].first()
        for view in needs.views
    ]
    joined: NDArray[np.float32] = torch.cat(parts, 1)[inputs.place].float().cpu().numpy()
    return joined


class _Shelf:
    """The states of all molecules in one tensor, molecule after molecule."""

    def __init__(self, sizes: Int[NDArray, " m"]) -> None:
        self.sizes, self.begins = sizes, offsets(sizes)
        self.rows = torch.empty(0)

    def put(self, molecules: Int[NDArray, " k"], rows: Float[Tensor, "r w"]) -> None:
        """Keep these molecules' rows."""
        if not len(self.rows):
            self.rows = rows.new_empty(int(self.begins[-1]), rows.shape[1])
        self.rows[self._places(molecules)] = rows

    def take(self, molecules: Int[NDArray, " k"]) -> States:
        """The states of these molecules, in this order."""
        return ragged(self.rows[self._places(molecules)], self.sizes[molecules])

    def _places(self, molecules: Int[NDArray, " k"]) -> Int[Tensor, " r"]:
        sizes = self.sizes[molecules]
        shift = np.repeat(self.begins[molecules] - offsets(sizes)[:-1], sizes)
        return torch.from_numpy(shift + np.arange(len(shift))).to(self.rows.device)


def _joined(parts: Float[Tensor, "p w"], vectors: Float[Tensor, "n w"], sizes: Int[NDArray, " n"]) -> States:
    """A view's vectors and its atoms or tokens as the rows of each molecule."""
    first = offsets(sizes)[:-1]
    whence = np.arange(len(parts)) + len(sizes)  # vectors stand before all parts
    order = np.insert(whence, first - np.arange(len(sizes)), np.arange(len(sizes)))
    both = torch.cat([vectors.float(), parts.float()])
    return ragged(both[torch.from_numpy(order).to(parts.device)], sizes)
