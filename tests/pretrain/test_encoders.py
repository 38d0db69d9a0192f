"""Encoders: the library's numbers where there is a library, and no dependence on order, company or padding."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from rdkit import Chem
from torch import Tensor, nn
from torch.testing import assert_close
from torch_geometric.nn.models import AttentiveFP
from transformers import DebertaV2Model

from pretrain.batch import (
    FIRST_BOND,
    MOLECULE,
    NONE,
    SELF,
    Batch,
    Strings,
    atom_inputs,
    bond_inputs,
    collate,
)
from pretrain.config import LossConfig, ModelConfig
from pretrain.encoders.attentive_fp import LocalEncoder
from pretrain.encoders.graph_transformer import GlobalEncoder
from pretrain.encoders.text import TextEncoder, deberta_config
from pretrain.groups import grouped
from pretrain.model import TwoStreams, Vocabularies
from sharding.columns import Molecules
from sharding.config import RecordConfig
from sharding.featurize import featurize
from sharding.tokens import PADDING
from tests.pretrain.conftest import TINY

VIEWS = ("local", "global", "smiles", "text")


@torch.no_grad()
def test_a_molecule_alone_is_the_molecule_in_a_batch(model, molecules):
    together = model.encode(collate(molecules))
    for row in (0, 5, 31, 32, 33, 34):
        alone = model.encode(collate(molecules.slice(row, row + 1)))
        for view in VIEWS:
            assert_close(alone[view][0], together[view][row], rtol=1e-4, atol=1e-5, msg=f"{view} {row}")


@torch.no_grad()
def test_the_order_of_molecules_changes_nothing(model, molecules):
    order = np.random.default_rng(0).permutation(len(molecules))
    straight, shuffled = model.encode(collate(molecules)), model.encode(collate(molecules.take(order)))
    for view in VIEWS:
        assert_close(shuffled[view], straight[view][order], rtol=1e-4, atol=1e-5)


def _renumbered(molecules: Molecules, row: int, order: np.ndarray) -> Molecules:
    """One molecule with its atoms in another order, bonds re-listed and turned round."""
    one = molecules.slice(row, row + 1)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    bonds = np.random.default_rng(1).permutation(len(one.bonds))
    fields = {name: getattr(one, name) for name in Molecules.__slots__}
    fields |= {"atoms": one.atoms[order], "bonds": one.bonds[bonds], "ends": place[one.ends][bonds][:, ::-1]}
    return Molecules(**fields)


@torch.no_grad()
@pytest.mark.parametrize("view", ["local", "global"])
def test_the_order_of_atoms_changes_nothing(model, molecules, view):
    for row in range(8):
        order = np.random.default_rng(row).permutation(int(molecules.n_atoms[row]))
        changed = model.encode(collate(_renumbered(molecules, row, order)))[view]
        same = model.encode(collate(molecules.slice(row, row + 1)))[view]
        assert_close(changed, same, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_attentive_fp_is_the_librarys(batch):
    """With our weights and its own last layer, torch-geometric's model gives our molecules, projected."""
    ours = LocalEncoder(ModelConfig(**TINY)).eval()
    theirs = AttentiveFP(39, 16, 16, edge_dim=10, num_layers=2, num_timesteps=2).eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    atoms, bonds = atom_inputs(batch.atoms, torch.float32), bond_inputs(batch.edge_bonds, torch.float32)
    _, molecules = ours(atoms, batch.edges, bonds, batch.atom_molecule, batch.size)
    expected = theirs(atoms, batch.edges, bonds, batch.atom_molecule)
    assert_close(theirs.lin2(molecules), expected, rtol=1e-5, atol=1e-6)


def of_both(found: Tensor, expected: Tensor, weights: nn.Module, theirs: nn.Module) -> None:
    """Results and the gradients of all weights that both have, to rounding in float64."""
    assert_close(found, expected, rtol=1e-10, atol=1e-10)
    toward = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(0))
    (found * toward).sum().backward()
    (expected * toward).sum().backward()
    expected_gradients = {name: weight.grad for name, weight in theirs.named_parameters()}
    for name, weight in weights.named_parameters():
        gradient, scale = expected_gradients[name], expected_gradients[name].abs().max()
        assert scale > 0
        # gradients that are zero but for rounding, as those of the keys' biases, have no digits to compare
        assert_close(weight.grad, gradient, rtol=0, atol=1e-10 * max(scale.item(), 1e-3), msg=name)


def test_deberta_is_the_librarys():
    """Strings of all lengths, beyond the linear buckets, in groups: the library's numbers for one padded matrix."""
    torch.manual_seed(0)
    # heads of width 12: the library rounds sqrt(3 * 12) = 6 to float32, which then is exact
    config = ModelConfig(**TINY | {"text_hidden": 24})
    encoder = TextEncoder(config, 50).double()
    assert type(encoder.transformer) is DebertaV2Model
    library = DebertaV2Model(deberta_config(config, 50)).double()
    library.load_state_dict(encoder.transformer.state_dict())
    lengths = np.array([130, 2, 3, 5, 33, 34, 64, 66, 90, 7, 40, 41, 12, 13, 230, 70, 71])
    ids = np.random.default_rng(0).integers(4, 50, lengths.sum())
    states, vectors = encoder(Strings(torch.from_numpy(ids), grouped(lengths)[0]))

    mask = torch.arange(lengths.max()) < torch.from_numpy(lengths)[:, None]
    padded = torch.full(mask.shape, PADDING)
    padded[mask] = torch.from_numpy(ids)
    expected = library(input_ids=padded, attention_mask=mask.long()).last_hidden_state
    means = torch.stack([row[keep].mean(0) for row, keep in zip(expected, mask, strict=True)])
    assert_close(states, expected[mask], rtol=1e-10, atol=1e-10)
    of_both(vectors, means, encoder.transformer, library)


@torch.no_grad()
def test_dropout_is_where_the_library_has_it(monkeypatch):
    """With every dropout doubling instead of drawing, an exchanged or forgotten place would show."""
    config = ModelConfig(**TINY | {"text_hidden": 24, "dropout": 0.5})
    encoder = TextEncoder(config, 50).double().train()
    library = DebertaV2Model(deberta_config(config, 50)).double().train()
    library.load_state_dict(encoder.transformer.state_dict())
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda _, states: 2 * states)
    monkeypatch.setattr("pretrain.encoders.attention.dropout", lambda states, p: 4 * p * states)
    ids = torch.arange(4, 44)
    states, _ = encoder(Strings(ids, grouped(np.array([40]))[0]))
    assert_close(states, library(input_ids=ids[None]).last_hidden_state[0], rtol=1e-10, atol=1e-10)


def test_relations_are_the_bonds(molecules):
    """r(i, j) of the Graph Transformer, atom by atom, from RDKit's bonds."""
    batch = collate(molecules)
    parts = batch.relations.split([k * most**2 for k, most in batch.nodes.shapes])
    of_row = [
        relation
        for part, (k, most) in zip(parts, batch.nodes.shapes, strict=True)
        for relation in part.view(k, most, most)
    ]
    for row, place in enumerate(batch.nodes.order.tolist()):
        count = int(molecules.n_atoms[row])
        expected = torch.full((count + 1, count + 1), NONE, dtype=torch.int8)
        expected[0] = expected[:, 0] = MOLECULE
        expected.fill_diagonal_(SELF)
        own = molecules.slice(row, row + 1)
        for (a, b), bond in zip(own.ends.tolist(), own.bonds.tolist(), strict=True):
            expected[a + 1, b + 1] = expected[b + 1, a + 1] = 3 + bond[0]
        assert torch.equal(of_row[place][: count + 1, : count + 1], expected)


@pytest.mark.parametrize("bias", [True, False])
def test_the_graph_transformer_is_its_definition(molecules, bias):
    """One molecule at a time, its atoms' bonds looked up one by one, no groups: the same numbers and gradients."""
    torch.manual_seed(0)
    ours = GlobalEncoder(ModelConfig(**TINY | {"bond_bias": bias})).double()
    theirs = deepcopy(ours)
    batch = collate(molecules)
    inputs = atom_inputs(batch.atoms, torch.float64)
    atoms, vectors = ours(inputs, batch.nodes, batch.relations)
    expected = [graph_transformer(theirs, inputs, batch, row) for row in range(batch.size)]
    assert_close(atoms, torch.cat([states[1:] for states in expected]), rtol=1e-10, atol=1e-10)
    of_both(vectors, torch.stack([states[0] for states in expected]), ours, theirs)


def graph_transformer(encoder: GlobalEncoder, inputs: Tensor, batch: Batch, row: int) -> Tensor:
    """The encoder's equation for one molecule: states of its node and its atoms."""
    mine = batch.atom_molecule == row
    begin, count = int(mine.nonzero()[0]), int(mine.sum())
    relations = torch.full((count + 1, count + 1), NONE)
    relations[0] = relations[:, 0] = MOLECULE
    relations.fill_diagonal_(SELF)
    for (source, target), bond in zip(batch.edges.T.tolist(), batch.edge_bonds[:, 0].tolist(), strict=True):
        if mine[source]:
            relations[source - begin + 1, target - begin + 1] = FIRST_BOND + bond
    states = torch.cat([encoder.molecule_node[None], encoder.embed(inputs[mine])])
    for layer in encoder.layers:
        parts = layer.query_key_value(layer.attention_norm(states)).view(count + 1, 3, layer.heads, -1)
        read = []
        for head, (query, key, value) in enumerate(parts.permute(2, 1, 0, 3)):
            scores = query @ key.T / query.shape[1] ** 0.5
            if layer.bias is not None:
                scores = scores + layer.bias.weight[relations, head]
            read.append(scores.softmax(1) @ value)
        states = states + layer.output(torch.cat(read, 1))
        states = states + layer.feedforward(states)
    return encoder.norm(states)


@torch.no_grad()
def test_the_bond_bias_is_what_tells_isomers_apart(tokenizers):
    """Ablation: the same atoms, other bonds. With the bias the two differ; without it they are one."""
    record = RecordConfig()
    # two trisubstituted rings whose atoms have the same features and other neighbours
    pair = [Chem.CanonSmiles(s) for s in ("Clc1ccccc1-c1ccccc1", "Clc1cccc(-c2ccccc2)c1")]
    batch = collate(featurize(pair, np.arange(2), tokenizers, record).molecules)
    sizes = Vocabularies(tokenizers.smiles.size, tokenizers.text.size)
    for bias in (True, False):
        torch.manual_seed(0)
        model = TwoStreams(ModelConfig(**TINY | {"bond_bias": bias}), LossConfig(), sizes).eval()
        if bias:  # a new bias is small: make it speak
            for layer in model.encoders["global"].layers:
                torch.nn.init.normal_(layer.bias.weight, std=2.0)
        first, second = model.encode(batch)["global"]
        same = torch.allclose(first, second, atol=1e-5)
        assert same is not bias
