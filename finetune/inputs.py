"""What a system is given: states of atoms and tokens, vectors, fingerprints; and what it says that it needs.

n molecules, r rows in all (atoms or tokens), w width; g groups of molecules, k in one, L the largest one's rows.
    States: rows (r, w) and where they stand     pad: (r, c) -> g matrices (k, L, c)     pack: the inverse
    Inputs: {view: (n, w)}, {view: States}, {fingerprint: (n, b)}, place (n,)
Nothing is padded outside of attention: whatever works row by row works on real rows only. Where states are read, a
batch's molecules are sorted by size and cut into groups, so that matrices have little padding; `place` leads back to
the order that was asked for. The first row of a molecule is its vector (the read-out), then come its atoms or tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from sharding.columns import offsets
from sharding.config import Fingerprint

IN_A_GROUP, GROUPS = 16, 8
"""Molecules of a group, at least; groups of a batch, at most."""


@dataclass(frozen=True)
class Needs:
    """What a system reads, so that nothing else is computed for it."""

    vectors: tuple[str, ...] = ()
    """Views whose one vector a molecule it reads."""
    states: tuple[str, ...] = ()
    """Views whose atoms or tokens it reads."""
    fingerprints: tuple[Fingerprint, ...] = ()

    @property
    def views(self) -> tuple[str, ...]:
        """Those that are read in any way."""
        return tuple(dict.fromkeys((*self.vectors, *self.states)))


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Some molecules that stand next to each other."""

    rows: tuple[tuple[int, int], ...]
    """Begin and end of their rows; several ranges where sets of rows stand side by side."""
    slot: Int[Tensor, " q"]
    """Of each of these rows, molecule * L + place."""
    present: Bool[Tensor, "k L"]


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Rows of n molecules, one molecule after the other. Every molecule has one row at least."""

    rows: Float[Tensor, "r w"]
    owner: Int[Tensor, " r"]
    """Each row's molecule."""
    whole: Group
    """All molecules as one group."""
    groups: tuple[Group, ...]

    def matrix(self, values: Float[Tensor, "r c"]) -> Float[Tensor, "n L c"]:
        """Each row's values at its molecule and place; zero where there is none."""
        return _pad(self.whole, values)

    def rows_of(self, matrix: Float[Tensor, "n L c"]) -> Float[Tensor, "r c"]:
        """The inverse of `matrix`: padding is dropped."""
        return matrix.flatten(0, 1).index_select(0, self.whole.slot)

    def pad(self, values: Float[Tensor, "r c"]) -> list[Float[Tensor, "k L c"]]:
        """`matrix`, group by group."""
        return [_pad(group, values) for group in self.groups]

    def pack(self, padded: Sequence[Float[Tensor, "k L c"]]) -> Float[Tensor, "r c"]:
        """The inverse of `pad`."""
        pieces: dict[int, Tensor] = {}
        for group, matrix in zip(self.groups, padded, strict=True):
            rows = matrix.flatten(0, 1).index_select(0, group.slot)
            own = rows.split([end - begin for begin, end in group.rows])
            pieces.update(zip([begin for begin, _ in group.rows], own, strict=True))
        return torch.cat([pieces[begin] for begin in sorted(pieces)])

    def mean(self) -> Float[Tensor, "n w"]:
        """The mean of each molecule's rows."""
        present = self.whole.present
        sums = self.rows.new_zeros(len(present), self.rows.shape[1]).index_add(0, self.owner, self.rows)
        return sums / present.sum(1, keepdim=True)

    def first(self) -> Float[Tensor, "n w"]:
        """The first row of each molecule: its vector, where these are the encoder's states."""
        sizes = self.whole.present.sum(1)
        return self.rows[sizes.cumsum(0) - sizes]

    def become(self, rows: Float[Tensor, "r c"]) -> "States":
        """Other values in the same places."""
        return States(rows, self.owner, self.whole, self.groups)


def ragged(rows: Float[Tensor, "r w"], sizes: Int[NDArray, " n"]) -> States:
    """The states of molecules that have so many rows, one after the other."""
    begins, device = offsets(sizes), rows.device
    owner = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(owner)) - begins[owner]

    def group(first: int, last: int) -> Group:
        begin, end, longest = int(begins[first]), int(begins[last]), int(sizes[first:last].max(initial=1))
        slot = (owner[begin:end] - first) * longest + place[begin:end]
        present = np.arange(longest) < sizes[first:last, None]
        return Group(((begin, end),), torch.from_numpy(slot).to(device), torch.from_numpy(present).to(device))

    count = len(sizes)
    cuts = max(1, min(GROUPS, count // IN_A_GROUP))  # the same for all states of a batch
    bounds = [round(count * cut / cuts) for cut in range(cuts + 1)]
    groups = tuple(group(first, last) for first, last in pairwise(bounds))
    return States(rows, torch.from_numpy(owner).to(device), group(0, count), groups)


def beside(parts: Sequence[States]) -> States:
    """The rows of all parts as one set a molecule: the first part's places, then the next one's."""
    begins = np.cumsum([0, *(len(part.rows) for part in parts)]).tolist()
    joined = zip(*(part.groups for part in parts), strict=True)
    return States(
        torch.cat([part.rows for part in parts]),
        torch.cat([part.owner for part in parts]),
        _join([part.whole for part in parts], begins),
        tuple(_join(together, begins) for together in joined),
    )


def _join(together: Sequence[Group], begins: Sequence[int]) -> Group:
    longest = [group.present.shape[1] for group in together]
    rows, slots, before = [], [], 0
    for group, own, shift in zip(together, longest, begins, strict=False):
        slots.append(group.slot // own * sum(longest) + group.slot % own + before)
        rows += [(begin + shift, end + shift) for begin, end in group.rows]
        before += own
    return Group(tuple(rows), torch.cat(slots), torch.cat([group.present for group in together], 1))


def _pad(group: Group, values: Tensor) -> Tensor:
    own = [values[begin:end] for begin, end in group.rows]
    empty = values.new_zeros(group.present.numel(), values.shape[1])
    padded = empty.index_copy(0, group.slot, own[0] if len(own) == 1 else torch.cat(own))
    return padded.view(*group.present.shape, -1)


def apart(rows: Float[Tensor, "r c"], parts: Sequence[States]) -> list[States]:
    """The inverse of `beside`, for rows that were changed since."""
    pieces = rows.split([len(part.rows) for part in parts])
    return [part.become(piece) for part, piece in zip(parts, pieces, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What a system reads of n molecules: what its `Needs` name, and nothing else."""

    place: Int[Tensor, " n"]
    """Where each molecule that was asked for stands among these: answers[place] are in the order asked for."""
    vectors: dict[str, Float[Tensor, "n _"]] = field(default_factory=dict)
    states: dict[str, States] = field(default_factory=dict)
    fingerprints: dict[str, Float[Tensor, "n _"]] = field(default_factory=dict)
