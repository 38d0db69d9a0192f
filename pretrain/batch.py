"""A batch: columns of molecules become the tensors that the encoders read.

n molecules, a atoms, e directed edges (two a bond), t tokens of a kind of string.
    atoms (a, 8) int8, atom_molecule (a,) int64     as stored, see sharding/feature_table.py
    edges (2, e) int64, edge_bonds (e, 4) int8      atom -> atom over the whole batch
    nodes: Groups of a + n parts                    the atoms, then one node a molecule; see pretrain/groups.py
    relations (r,) int8                             what each two nodes of a molecule are to each other, by slots
    smiles, text: Strings                           tokens (t,) int64 as stored, one string after the other
    ids (n,) int64                                  equal ones are the same molecule
Integers travel; `atom_inputs` and `bond_inputs` expand them to 39 and 10 numbers on the device. Whatever depends on
a size is made here, on the CPU, so the step never waits for one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from queue import Queue
from threading import Event, Thread
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int, Int8
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from pretrain.groups import Groups, grouped
from sharding.columns import Molecules, offsets
from sharding.feature_table import ATOM_COLUMNS, BOND_COLUMNS, Column

NONE, SELF, MOLECULE = 0, 1, 2
"""Relations of two nodes without a bond: two atoms, a node to itself, an atom and its molecule's own node."""
FIRST_BOND = 3
"""The relation of bond type 0."""
RELATIONS = FIRST_BOND + BOND_COLUMNS[0].width + 1
"""The last is a bond type outside the table."""


@dataclass(frozen=True, slots=True, eq=False)
class Strings:
    """n strings: their tokens, and in which group each string is."""

    tokens: Int[Tensor, " t"]
    groups: Groups

    def each(self, change: Callable[[Tensor], Tensor]) -> "Strings":
        """The same strings, every tensor changed."""
        return Strings(change(self.tokens), self.groups.each(change))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Tensors of n molecules; shapes in the module's head."""

    size: int
    atoms: Int8[Tensor, "a 8"]
    atom_molecule: Int[Tensor, " a"]
    edges: Int[Tensor, "2 e"]
    edge_bonds: Int8[Tensor, "e 4"]
    nodes: Groups
    relations: Int8[Tensor, " r"]
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
        names = ("atoms", "atom_molecule", "edges", "edge_bonds", "relations", "ids")
        changed = {name: change(getattr(self, name)) for name in names}
        smiles, text = self.smiles.each(change), self.text.each(change)
        return Batch(size=self.size, nodes=self.nodes.each(change), smiles=smiles, text=text, **changed)


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
    nodes, relations = _nodes(n_atoms, n_bonds, ends, np.ascontiguousarray(bonds[:, 0]))
    return Batch(
        size=len(molecules),
        atoms=torch.from_numpy(atoms),
        atom_molecule=torch.from_numpy(atom_molecule),
        edges=torch.from_numpy(edges),
        edge_bonds=torch.from_numpy(edge_bonds),
        nodes=nodes,
        relations=relations,
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
    if lengths.sum(dtype=np.int64) != len(flat):
        raise ValueError("tokens of molecules that do not fit their sizes")
    return Strings(torch.from_numpy(flat.astype(np.int64)), grouped(lengths)[0])


def _nodes(
    n_atoms: NDArray[np.int64],
    n_bonds: NDArray[np.int64],
    ends: NDArray[np.uint16],
    kinds: NDArray[np.int8],
) -> tuple[Groups, Tensor]:
    """Groups of each molecule's own node and its atoms, and the relations of every two slots of a molecule."""
    atoms, molecules = int(n_atoms.sum()), len(n_atoms)
    groups, rows = grouped(n_atoms + 1)
    # counted molecule by molecule, each with its own node first; the encoder has all atoms first
    own = offsets(n_atoms + 1)[:-1]
    number = np.empty(atoms + molecules, np.int64)
    number[own] = atoms + np.arange(molecules)
    number[np.delete(np.arange(atoms + molecules), own)] = np.arange(atoms)
    places, slots = number[groups.places.numpy()], np.empty(len(number), np.int64)
    slots[number] = groups.slots.numpy()
    relations = np.full(sum(k * length**2 for k, length in groups.shapes), NONE, np.int8)
    begin, bond_begins = 0, offsets(n_bonds)
    for group, (k, length) in zip(rows, groups.shapes, strict=True):
        end = begin + k * length**2
        _relate(group, n_atoms, bond_begins, ends, kinds, relations[begin:end].reshape(k, length, length))
        begin = end
    return replace(groups, places=torch.from_numpy(places), slots=torch.from_numpy(slots)), torch.from_numpy(
        relations
    )


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
def _relate(rows, n_atoms, bond_begins, ends, kinds, relations):  # type: ignore[no-untyped-def]
    """Fill a group's relations (k, L, L), which are all NONE; a padding node is its own."""
    for place in range(len(rows)):
        row, nodes = rows[place], n_atoms[rows[place]] + 1
        for node in range(relations.shape[1]):
            relations[place, node, node] = SELF
        relations[place, 0, 1:nodes] = MOLECULE
        relations[place, 1:nodes, 0] = MOLECULE
        for bond in range(bond_begins[row], bond_begins[row + 1]):
            first, second = np.int64(ends[bond, 0]) + 1, np.int64(ends[bond, 1]) + 1
            relations[place, first, second] = relations[place, second, first] = kinds[bond] + FIRST_BOND


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
