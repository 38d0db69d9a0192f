"""Rows of different length, packed for what reads a part by itself, in padded groups for what reads a whole row.

n rows (strings, molecules) of t parts in all (tokens, atoms); s slots in the groups, k rows of L slots in each.
    lengths (n,)  ->  Groups
    spread: packed (t, w) -> a group's (k, L, w) each       pack: the inverse       in_order: (k, w) each -> (n, w)
Linear layers, norms and activations see packed parts, and so no padding; only attention sees groups. Rows are sorted
by length, so that a group's padding is small; a module is called once whatever the groups, because ZeRO-3 counts the
calls. Sizes are numbers of the CPU: nothing here waits for the device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from sharding.columns import offsets

GROUPS = 8
"""Groups that a batch's rows are cut into: more leave less padding, and take more calls of small kernels."""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Where each part is in the groups, and each slot of the groups in the parts."""

    places: Int[Tensor, " s"]
    """The part in each slot, group after group; padding repeats its row's first part."""
    present: Bool[Tensor, " s"]
    """Whether the slot is no padding."""
    slots: Int[Tensor, " t"]
    """Each part's slot."""
    order: Int[Tensor, " n"]
    """Each row's place among the groups' rows."""
    shapes: tuple[tuple[int, int], ...]
    """(k, L) of each group."""
    pairs: int
    """Sum of the rows' squared lengths: what attention has to do without padding."""

    def each(self, change: Callable[[Tensor], Tensor]) -> "Groups":
        """The same groups, every tensor changed."""
        tensors = {name: change(getattr(self, name)) for name in ("places", "present", "slots", "order")}
        return Groups(**tensors, shapes=self.shapes, pairs=self.pairs)

    def spread(self, packed: Float[Tensor, "t w"]) -> list[Float[Tensor, "k L w"]]:
        """Every group's padded states; padding holds other parts' numbers, to be masked."""
        return self._cut(packed.index_select(0, self.places))

    def pack(self, spread: Sequence[Float[Tensor, "k L w"]]) -> Float[Tensor, "t w"]:
        """The parts' states, padding left out."""
        return torch.cat([states.flatten(0, 1) for states in spread]).index_select(0, self.slots)

    def in_order(self, rows: Sequence[Float[Tensor, "k w"]]) -> Float[Tensor, "n w"]:
        """What the groups found for their rows, in the order of the batch."""
        return torch.cat(list(rows)).index_select(0, self.order)

    def mean(self, packed: Float[Tensor, "t w"]) -> Float[Tensor, "n w"]:
        """The mean of each row's parts, summed by a matrix product: in float32 whatever the parts are."""
        ones = self._cut(self.present[:, None].to(packed.dtype))
        rows = [
            one.transpose(1, 2).bmm(states).squeeze(1) / one.sum(1)
            for one, states in zip(ones, self.spread(packed), strict=True)
        ]
        return self.in_order(rows)

    def masks(self, dtype: torch.dtype) -> list[Float[Tensor, "k 1 L"]]:
        """To be added to scores: nothing where a key is present, minus infinity where it is padding."""
        mask = torch.zeros(self.present.shape, dtype=dtype, device=self.present.device)
        mask = mask.masked_fill_(~self.present, -torch.inf)
        return [group.transpose(1, 2) for group in self._cut(mask[:, None])]

    def _cut(self, slots: Float[Tensor, "s w"]) -> list[Float[Tensor, "k L w"]]:
        parts = slots.split([k * length for k, length in self.shapes])
        return [part.view(k, length, -1) for part, (k, length) in zip(parts, self.shapes, strict=True)]


def grouped(lengths: NDArray[np.integer]) -> tuple[Groups, list[NDArray[np.int64]]]:
    """The groups of rows of these lengths, and each group's rows."""
    order = np.argsort(lengths, kind="stable")
    rows = np.array_split(order, min(GROUPS, max(1, len(order))))
    if lengths.min(initial=1) < 1:
        raise ValueError("a row without parts has no group")
    begins = offsets(lengths)
    shapes = tuple((len(group), int(lengths[group].max(initial=1))) for group in rows)
    size = sum(k * length for k, length in shapes)
    places, present = np.empty(size, np.int64), np.empty(size, bool)
    slots, first = np.empty(begins[-1], np.int64), 0
    for group, (k, length) in zip(rows, shapes, strict=True):
        _fill(begins, group, length, first, places, present, slots)
        first += k * length
    among = np.empty(len(order), np.int64)
    among[order] = np.arange(len(order))
    groups = Groups(
        places=torch.from_numpy(places),
        present=torch.from_numpy(present),
        slots=torch.from_numpy(slots),
        order=torch.from_numpy(among),
        shapes=shapes,
        pairs=int(np.square(lengths, dtype=np.int64).sum()),
    )
    return groups, rows


@njit(cache=True, nogil=True)
def _fill(begins, rows, length, first, places, present, slots):  # type: ignore[no-untyped-def]
    """One group's slots, from `first` on."""
    slot = first
    for row in rows:
        begin, end = begins[row], begins[row + 1]
        for part in range(begin, begin + length):
            present[slot] = part < end
            places[slot] = part if part < end else begin
            if part < end:
                slots[part] = slot
            slot += 1
