"""Encoders: the library's numbers where there is a library, and no dependence on order, company or padding."""

import numpy as np
import pytest
import torch
from rdkit import Chem
from torch.testing import assert_close
from torch_geometric.nn.models import AttentiveFP
from transformers import DebertaV2Model

from pretrain.batch import atom_inputs, bond_inputs, collate
from pretrain.config import LossConfig, ModelConfig
from pretrain.encoders.attentive_fp import LocalEncoder
from pretrain.encoders.graph_transformer import NONE, SELF, GlobalEncoder
from pretrain.model import TwoStreams, Vocabularies
from sharding.columns import Molecules
from sharding.config import RecordConfig
from sharding.featurize import featurize
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


@torch.no_grad()
def test_deberta_is_the_librarys(model, molecules, batch):
    """Groups padded each by itself give what the library gives for one padded matrix."""
    encoder = model.encoders["text"]
    assert type(encoder.transformer) is DebertaV2Model
    longest = int(molecules.n_text_tokens.max())
    ids = torch.zeros(len(molecules), longest, dtype=torch.long)
    mask = torch.arange(longest) < torch.from_numpy(molecules.n_text_tokens.astype(np.int64))[:, None]
    ids[mask] = torch.from_numpy(molecules.text_tokens.astype(np.int64))
    expected = encoder.transformer(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    states, vectors = encoder(batch.text)
    assert_close(states[mask], expected[mask], rtol=1e-4, atol=1e-5)
    assert (states[~mask] == 0).all()
    mean = torch.stack([row[keep].mean(0) for row, keep in zip(expected, mask, strict=True)])
    assert_close(vectors, mean, rtol=1e-4, atol=1e-5)


def test_relations_are_the_bonds(molecules):
    """r(i, j) of the Graph Transformer, atom by atom, from RDKit's bonds."""
    encoder = GlobalEncoder(ModelConfig(**TINY))
    batch = collate(molecules)
    _, relations = encoder.relations(batch.edges, batch.edge_bonds, batch.atom_molecule, batch.size)
    begin = 0
    for row in range(len(molecules)):
        count = int(molecules.n_atoms[row])
        here = relations[row, 1 : count + 1, 1 : count + 1]
        expected = torch.full((count, count), NONE)
        expected.fill_diagonal_(SELF)
        own = molecules.slice(row, row + 1)
        for (a, b), bond in zip(own.ends.tolist(), own.bonds.tolist(), strict=True):
            expected[a, b] = expected[b, a] = 3 + bond[0]
        assert torch.equal(here, expected)
        assert (relations[row, : count + 1, count + 1 :] == -1).all()
        begin += count


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
