from dataclasses import replace

import numpy as np
import pytest
import torch
from rdkit import Chem
from torch_geometric.utils import from_smiles

from pretrain.batch import Prefetch, atom_inputs, bond_inputs, collate
from pretrain.groups import grouped
from sharding.feature_table import ATOM_COLUMNS


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
        for strings, flat, lengths in (
            (batch.smiles, columns.smiles_tokens, columns.n_smiles_tokens),
            (batch.text, columns.text_tokens, columns.n_text_tokens),
        ):
            assert strings.tokens.tolist() == flat.tolist()
            check_groups(strings.groups, np.split(np.arange(len(flat)), np.cumsum(lengths)[:-1]), lengths)
        atoms = np.split(np.arange(len(columns.atoms)), np.cumsum(columns.n_atoms.astype(int))[:-1])
        own = len(columns.atoms) + np.arange(len(columns))
        nodes = [[node, *row] for node, row in zip(own, atoms, strict=False)]
        check_groups(batch.nodes, nodes, columns.n_atoms.astype(int) + 1)
        whole = (batch.edges, batch.atom_molecule, batch.text.tokens, batch.nodes.places)
        assert {tensor.dtype for tensor in whole} == {torch.int64}
        assert {batch.atoms.dtype, batch.edge_bonds.dtype, batch.relations.dtype} == {torch.int8}


def check_groups(groups, rows, lengths):
    """Shortest first, in groups of equal size, each padded to its longest; every part where `slots` says."""
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    assert [order.index(row) for row in range(len(lengths))] == groups.order.tolist()
    assert groups.pairs == sum(int(length) ** 2 for length in lengths)
    expected = []
    for picked, (k, longest) in zip(np.array_split(order, len(groups.shapes)), groups.shapes, strict=True):
        assert (k, longest) == (len(picked), max((int(lengths[int(row)]) for row in picked), default=1))
        for row in picked:
            expected += [*rows[int(row)], *[None] * (longest - int(lengths[int(row)]))]
    places = zip(groups.places.tolist(), groups.present.tolist(), strict=True)
    assert [place if present else None for place, present in places] == expected
    assert [groups.places[slot] for slot in groups.slots] == list(range(sum(map(int, lengths))))


@pytest.mark.parametrize("name", ["n_atoms", "n_bonds", "n_smiles_tokens", "n_text_tokens"])
def test_columns_that_do_not_fit_together_are_refused(molecules, name):
    with pytest.raises(ValueError, match="do not fit"):
        collate(replace(molecules, **{name: getattr(molecules, name) + 1}))


def test_groups_spread_pack_and_average(others):
    """There and back is nothing; a mean is a row's own; padding is masked and never lands in a result."""
    groups = collate(others).text.groups
    packed = torch.randn(len(groups.slots), 3, dtype=torch.float64)
    spread = groups.spread(packed)
    assert [tuple(part.shape[:2]) for part in spread] == list(groups.shapes)
    assert torch.equal(groups.pack(spread), packed)
    lengths = others.n_text_tokens.astype(int).tolist()
    means = torch.stack([row.mean(0) for row in packed.split(lengths)])
    torch.testing.assert_close(groups.mean(packed), means)
    for part, mask in zip(spread, groups.masks(torch.float64), strict=True):
        assert mask.shape == (part.shape[0], 1, part.shape[1])
        assert set(mask.unique().tolist()) <= {0.0, -torch.inf}
    assert sum(int((mask == 0).sum()) for mask in groups.masks(torch.float64)) == len(packed)
    with pytest.raises(ValueError, match="without parts"):
        grouped(np.array([2, 0]))


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
