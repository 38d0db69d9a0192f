from dataclasses import replace

import numpy as np
import pytest
import torch
from rdkit import Chem
from torch_geometric.utils import from_smiles

from pretrain.batch import Prefetch, atom_inputs, bond_inputs, collate
from sharding.feature_table import ATOM_COLUMNS
from sharding.tokens import PADDING


def test_atom_inputs_are_the_39_of_the_table(batch, molecules):
    inputs = atom_inputs(batch.atoms, torch.float32)
    assert inputs.shape == (int(molecules.n_atoms.sum()), 39)
    start = 0
    for index, column in enumerate(ATOM_COLUMNS):
        part = inputs[:, start : start + column.width]
        stored = batch.atoms[:, index].long()
        if column.kind == "one_hot":
            known = stored < column.width
            assert (part.sum(1) == known.float()).all()
            assert (part[known].argmax(1) == stored[known]).all()
        elif column.kind == "number":
            assert (part[:, 0] == stored).all()
        else:
            weights = torch.tensor([1.0, 2.0, 4.0])[: column.width]
            assert (part @ weights == stored).all()
        start += column.width


def test_bond_inputs_are_ten(batch):
    inputs = bond_inputs(batch.edge_bonds, torch.float64)
    assert inputs.shape == (batch.edges.shape[1], 10)
    assert (inputs[:, :4].sum(1) == 1).all()


def test_edges_are_those_of_the_molecules(zinc, tokenizers):
    """Against torch-geometric's own reader: the same bonds, both ways, in every molecule."""
    from sharding.config import RecordConfig
    from sharding.featurize import featurize_strings

    made, _ = featurize_strings(zinc[:10], tokenizers, RecordConfig())
    batch = collate(made.molecules)
    begin = 0
    for number, smiles in enumerate(made.smiles):
        theirs = {tuple(edge) for edge in from_smiles(smiles).edge_index.T.tolist()}
        mine = batch.edges[:, batch.atom_molecule[batch.edges[0]] == number] - begin
        assert {tuple(edge) for edge in mine.T.tolist()} == theirs
        begin += Chem.MolFromSmiles(smiles).GetNumAtoms()


def test_a_batch_is_its_plain_definition(molecules, others):
    """Every tensor, from loops over molecules, bonds and tokens."""
    for columns in (molecules, others, molecules.slice(3, 3), molecules.slice(5, 6)):
        batch = collate(columns)
        edges, edge_bonds, owner, begin, bond = [], [], [], 0, 0
        for number, (n_atoms, n_bonds) in enumerate(zip(columns.n_atoms, columns.n_bonds, strict=True)):
            for first, second in columns.ends[bond : bond + n_bonds].tolist():
                edges += [[begin + first, begin + second], [begin + second, begin + first]]
            edge_bonds += np.repeat(columns.bonds[bond : bond + n_bonds], 2, axis=0).tolist()
            owner += [number] * int(n_atoms)
            begin, bond = begin + int(n_atoms), bond + int(n_bonds)
        assert batch.size == len(columns)
        assert batch.atoms.tolist() == columns.atoms.tolist()
        assert batch.edges.T.tolist() == edges
        assert batch.edge_bonds.tolist() == edge_bonds
        assert batch.atom_molecule.tolist() == owner
        _check_strings(batch.smiles, columns.smiles_tokens, columns.n_smiles_tokens)
        _check_strings(batch.text, columns.text_tokens, columns.n_text_tokens)
        whole = (batch.edges, batch.atom_molecule, batch.text.ids[0], batch.text.place)
        assert {tensor.dtype for tensor in whole} == {torch.int64}
        assert {batch.atoms.dtype, batch.edge_bonds.dtype} == {torch.int8}
        assert batch.text.masks[0].dtype == torch.bool


def _check_strings(strings, flat, lengths):
    """Shortest first, in groups of equal size, each padded to its longest."""
    rows = [row.tolist() for row in np.split(flat, np.cumsum(lengths))[:-1]]
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    assert [order.index(row) for row in range(len(rows))] == strings.place.tolist()
    for picked, ids, mask in zip(
        np.array_split(order, len(strings.ids)), strings.ids, strings.masks, strict=True
    ):
        longest = max((len(rows[int(row)]) for row in picked), default=1)
        padded = [rows[int(row)] + [None] * (longest - len(rows[int(row)])) for row in picked]
        assert ids.tolist() == [[PADDING if token is None else token for token in row] for row in padded]
        assert mask.tolist() == [[token is not None for token in row] for row in padded]


@pytest.mark.parametrize("name", ["n_atoms", "n_bonds", "n_smiles_tokens", "n_text_tokens"])
def test_columns_that_do_not_fit_together_are_refused(molecules, name):
    with pytest.raises(ValueError, match="do not fit"):
        collate(replace(molecules, **{name: getattr(molecules, name) + 1}))


def test_strings_come_back_in_order(batch, molecules):
    """Groups padded each by itself hold every string once, at the place that `place` says."""
    flat = np.split(molecules.text_tokens, np.cumsum(molecules.n_text_tokens)[:-1])
    rows = [
        row[mask]
        for ids, masks in zip(batch.text.ids, batch.text.masks, strict=True)
        for row, mask in zip(ids, masks, strict=True)
    ]
    for string, place in zip(flat, batch.text.place.tolist(), strict=True):
        assert rows[place].tolist() == string.tolist()
    for ids, mask in zip(batch.text.ids, batch.text.masks, strict=True):
        assert (ids[~mask] == PADDING).all()
        assert mask.any(0).all()  # no column of padding alone


def test_prefetch_keeps_order_and_carries_errors():
    def source():
        yield from range(5)
        raise OSError("shard is gone")

    items = Prefetch(source(), ahead=2)
    assert [next(items) for _ in range(5)] == list(range(5))
    with pytest.raises(OSError, match="shard is gone"):
        next(items)
    items.close()


def test_prefetch_closes_while_its_source_goes_on():
    def endless():
        while True:
            yield 1

    items = Prefetch(endless(), ahead=1)
    next(items)
    items.close()
    assert not items._thread.is_alive()
