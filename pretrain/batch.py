"""A batch: columns of molecules become the tensors that the encoders read.

n molecules, a atoms, e directed edges (two a bond); strings in groups of similar length, L tokens each.
    atoms (a, 8) int8, atom_molecule (a,) int64     as stored, see sharding/feature_table.py
    edges (2, e) int64, edge_bonds (e, 4) int8      atom -> atom over the whole batch
    smiles, text: Strings                           ids (k, L) int64, mask (k, L) bool a group
    ids (n,) int64                                  equal ones are the same molecule
Integers travel; `atom_inputs` and `bond_inputs` expand them to 39 and 10 numbers on the device. Strings are
sorted by length into groups that are padded each by itself: attention over the padding of one matrix would
cost about half of the text stream's time. Groups are cut here, on the CPU, so the step never waits for a size.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Queue
from threading import Event, Thread
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int8
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from sharding.columns import Molecules, offsets
from sharding.feature_table import ATOM_COLUMNS, BOND_COLUMNS, Column
from sharding.tokens import PADDING

GROUPS = 4
"""Groups of strings a batch: the same on every rank, because ZeRO-3 counts the calls."""


@dataclass(frozen=True, slots=True, eq=False)
class Strings:
    """n strings as padded matrices, one a group; `place` (n,) is each string's row among all groups' rows."""

    ids: tuple[Int[Tensor, "k L"], ...]
    masks: tuple[Bool[Tensor, "k L"], ...]
    place: Int[Tensor, " n"]

    def each(self, change: Callable[[Tensor], Tensor]) -> "Strings":
        """The same strings, every tensor changed."""
        return Strings(tuple(map(change, self.ids)), tuple(map(change, self.masks)), change(self.place))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Tensors of n molecules; shapes in the module's head."""

    size: int
    atoms: Int8[Tensor, "a 8"]
    atom_molecule: Int[Tensor, " a"]
    edges: Int[Tensor, "2 e"]
    edge_bonds: Int8[Tensor, "e 4"]
    smiles: Strings
    text: Strings
    ids: Int[Tensor, " n"]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return self.each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, for copies that overlap with the step."""
        return self.each(lambda tensor: tensor.pin_memory())

    def each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The same batch, every tensor changed."""
        names = ("atoms", "atom_molecule", "edges", "edge_bonds", "ids")
        changed = {name: change(getattr(self, name)) for name in names}
        return Batch(size=self.size, smiles=self.smiles.each(change), text=self.text.each(change), **changed)


def collate(molecules: Molecules) -> Batch:
    """The batch of these molecules, in their order."""
    n_atoms, n_bonds = molecules.n_atoms.astype(np.int64), molecules.n_bonds.astype(np.int64)
    atoms, bonds = (
        np.ascontiguousarray(molecules.atoms, np.int8),
        np.ascontiguousarray(molecules.bonds, np.int8),
    )
    atom_molecule, edges = np.empty(len(atoms), np.int64), np.empty((2, 2 * len(bonds)), np.int64)
    edge_bonds = np.empty((2 * len(bonds), bonds.shape[1]), np.int8)
    if (n_atoms.sum(), n_bonds.sum()) != (len(atoms), len(bonds)) or len(molecules.ends) != len(bonds):
        raise ValueError("columns of molecules that do not fit together")
    ends = np.ascontiguousarray(molecules.ends, np.uint16)
    _graphs(n_atoms, n_bonds, ends, bonds.view(np.int32), atom_molecule, edges, edge_bonds.view(np.int32))
    return Batch(
        size=len(molecules),
        atoms=torch.from_numpy(atoms),
        atom_molecule=torch.from_numpy(atom_molecule),
        edges=torch.from_numpy(edges),
        edge_bonds=torch.from_numpy(edge_bonds),
        smiles=_strings(molecules.smiles_tokens, molecules.n_smiles_tokens),
        text=_strings(molecules.text_tokens, molecules.n_text_tokens),
        ids=torch.from_numpy(np.ascontiguousarray(molecules.ids, np.int64)),
    )


def collate_chunks(molecules: Molecules, chunk: int) -> list[Batch]:
    """`chunk` molecules each, in order, the last the rest; 0: all in one."""
    count = len(molecules)
    return [collate(part) for part in molecules.cut([*range(0, count, chunk or count), count])]


def atom_inputs(atoms: Int8[Tensor, "a 8"], dtype: torch.dtype) -> Float[Tensor, "a 39"]:
    """The 39 numbers of each atom."""
    return _expand(atoms, ATOM_COLUMNS, dtype)


def bond_inputs(bonds: Int8[Tensor, "e 4"], dtype: torch.dtype) -> Float[Tensor, "e 10"]:
    """The 10 numbers of each bond."""
    return _expand(bonds, BOND_COLUMNS, dtype)


def _expand(stored: Int8[Tensor, "k c"], columns: tuple[Column, ...], dtype: torch.dtype) -> Tensor:
    parts = []
    for index, column in enumerate(columns):
        value = stored[:, index : index + 1]
        if column.kind == "number":
            parts.append(value.to(dtype))
            continue
        places = torch.arange(column.width, dtype=torch.int8, device=stored.device)
        if column.kind == "one_hot":  # a value beyond the table equals no place: all zeros
            parts.append((value == places).to(dtype))
        else:
            parts.append(((value >> places) & 1).to(dtype))
    return torch.cat(parts, dim=1)


def _strings(flat: NDArray[np.integer], lengths: NDArray[np.integer]) -> Strings:
    """Sort by length, cut into groups, pad each to its longest."""
    flat, lengths = np.ascontiguousarray(flat, np.uint16), np.ascontiguousarray(lengths, np.uint16)
    begins = offsets(lengths)
    if begins[-1] != len(flat):
        raise ValueError("tokens of molecules that do not fit their sizes")
    order = np.argsort(lengths, kind="stable")
    ids, masks = [], []
    for rows in np.array_split(order, min(GROUPS, max(1, len(order)))):
        longest = int(lengths[rows].max(initial=1))
        group, mask = np.empty((len(rows), longest), np.int64), np.empty((len(rows), longest), bool)
        _pad(flat, begins, rows, group, mask)
        ids.append(torch.from_numpy(group))
        masks.append(torch.from_numpy(mask))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return Strings(tuple(ids), tuple(masks), torch.from_numpy(place))


@njit(cache=True, nogil=True)
def _graphs(n_atoms, n_bonds, ends, bonds, atom_molecule, edges, edge_bonds):  # type: ignore[no-untyped-def]
    """Fill the last three; a bond is an edge each way, side by side."""
    begin, bond = 0, 0
    for molecule in range(len(n_atoms)):
        for _ in range(n_bonds[molecule]):
            first, second = begin + np.int64(ends[bond, 0]), begin + np.int64(ends[bond, 1])
            edges[0, 2 * bond], edges[1, 2 * bond] = first, second
            edges[0, 2 * bond + 1], edges[1, 2 * bond + 1] = second, first
            edge_bonds[2 * bond, 0] = edge_bonds[2 * bond + 1, 0] = bonds[bond, 0]
            bond += 1
        for atom in range(begin, begin + n_atoms[molecule]):
            atom_molecule[atom] = molecule
        begin += n_atoms[molecule]


@njit(cache=True, nogil=True)
def _pad(flat, begins, rows, ids, mask):  # type: ignore[no-untyped-def]
    """Fill a group's ids and mask."""
    for place in range(len(rows)):
        begin = begins[rows[place]]
        length = begins[rows[place] + 1] - begin
        for token in range(length):
            ids[place, token] = flat[begin + token]
        ids[place, length:] = PADDING
        mask[place, :length] = True
        mask[place, length:] = False


Item = TypeVar("Item")


class Prefetch(Generic[Item]):
    """An iterator whose items a background thread makes ahead, at most `ahead` of them.

    An error in the thread is raised by `next`. `close` ends the thread; the source is not used again.
    """

    def __init__(self, source: Iterator[Item], ahead: int) -> None:
        self._queue: Queue[tuple[Item | None, BaseException | None]] = Queue(maxsize=ahead)
        self._closed = Event()
        self._thread = Thread(target=self._fill, args=(source,), name="prefetch", daemon=True)
        self._thread.start()

    def _fill(self, source: Iterator[Item]) -> None:
        try:
            for item in source:
                self._queue.put((item, None))
                if self._closed.is_set():
                    return
            self._queue.put((None, StopIteration()))
        except BaseException as error:  # noqa: BLE001  carried to the consumer, who raises it
            self._queue.put((None, error))

    def __iter__(self) -> "Prefetch[Item]":
        return self

    def __next__(self) -> Item:
        item, error = self._queue.get()
        if error is not None:
            raise error
        return item  # type: ignore[return-value]

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._closed.set()
        while self._thread.is_alive():
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(timeout=0.05)
