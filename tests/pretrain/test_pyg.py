"""The bridge to PyTorch Geometric: RDKit's atoms and bonds, the library's own layers, and our encoder's answer."""

import numpy as np
import pytest
import torch
from rdkit import Chem
from torch.testing import assert_close
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GINEConv
from torch_geometric.nn.models import AttentiveFP

from pretrain.batch import collate
from pretrain.pyg import MoleculeGraphs
from pretrain.smiles import InvalidSmiles
from sharding.feature_table import SYMBOLS

ODD = ["C", "[Na+].[Cl-]", "N[C@@H](C)C(=O)O", "F/C=C\\F", "C#N", "[CH3]"]
"""One atom, no bond, a centre, a double bond's side, a triple bond, a radical."""
BONDS = [Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC]


@pytest.fixture(scope="module")
def graphs(zinc) -> MoleculeGraphs:
    return MoleculeGraphs.from_smiles([*zinc[:20], *ODD])


def test_atoms_and_bonds_are_rdkits(graphs):
    for data in graphs:
        molecule = Chem.MolFromSmiles(data.smiles)
        atoms, x = list(molecule.GetAtoms()), data.x.numpy()
        assert x.shape == (len(atoms), 39)
        np.testing.assert_array_equal(
            x[:, :16].argmax(1), [(*SYMBOLS, atom.GetSymbol()).index(atom.GetSymbol()) for atom in atoms]
        )
        np.testing.assert_array_equal(x[:, 16:22].argmax(1), [atom.GetDegree() for atom in atoms])
        np.testing.assert_array_equal(x[:, 22], [atom.GetFormalCharge() for atom in atoms])
        np.testing.assert_array_equal(x[:, 23], [atom.GetNumRadicalElectrons() for atom in atoms])
        np.testing.assert_array_equal(x[:, 30], [atom.GetIsAromatic() for atom in atoms])
        np.testing.assert_array_equal(x[:, 31:36].argmax(1), [atom.GetTotalNumHs() for atom in atoms])
        assert data.edge_index.shape == (2, 2 * molecule.GetNumBonds())
        assert data.edge_attr.shape == (2 * molecule.GetNumBonds(), 10)
        for (first, second), bond in zip(data.edge_index.T.tolist(), data.edge_attr, strict=True):
            expected = molecule.GetBondBetweenAtoms(first, second)
            assert bond[:4].argmax() == BONDS.index(expected.GetBondType())
            assert bond[4:6].tolist() == [expected.GetIsConjugated(), expected.IsInRing()]


def test_what_was_given_finds_its_graph(zinc):
    smiles = [zinc[0], "not-a-smiles", "OCC", "C(C)(C)(C)(C)C"]
    labels = [[1.0, np.nan], [2.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    with pytest.raises(
        InvalidSmiles, match=r"2 of 4 .*position 1 'not-a-smiles' \(not a SMILES\), position 3"
    ) as error:
        MoleculeGraphs.from_smiles(smiles, labels)
    assert error.value.rejected == {1: "syntax", 3: "valence"}
    graphs = MoleculeGraphs.from_smiles(smiles, labels, strict=False)
    assert [data.row for data in graphs] == [0, 2]
    assert graphs.rejected == {1: "syntax", 3: "valence"}
    assert graphs[1].smiles == "CCO"
    np.testing.assert_array_equal(Batch.from_data_list(list(graphs)).y, [[1, np.nan], [3, 4]])
    with pytest.raises(ValueError, match="y has 4 rows for 2 SMILES"):
        MoleculeGraphs.from_smiles(["C", "CC"], [1, 2, 3, 4])
    assert "y" not in MoleculeGraphs.from_smiles(["C"])[0]


@pytest.mark.parametrize("wrong", ["CCO", ["CCO", None], [["CCO"]]])
def test_what_is_no_sequence_of_strings_is_refused(wrong):
    with pytest.raises(TypeError, match="SMILES"):
        MoleculeGraphs.from_smiles(wrong)


def test_the_librarys_layers_run_on_a_batch(graphs):
    batch = next(iter(DataLoader(graphs, batch_size=len(graphs))))
    model = AttentiveFP(39, 8, 3, edge_dim=10, num_layers=2, num_timesteps=2)
    answer = model(batch.x, batch.edge_index, batch.edge_attr, batch.batch)
    assert answer.shape == (len(graphs), 3)
    layer = GINEConv(torch.nn.Linear(39, 8), edge_dim=10)
    assert layer(batch.x, batch.edge_index, batch.edge_attr).isfinite().all()
    assert len(graphs[:5].shuffle()) == 5


@torch.no_grad()
def test_our_local_encoder_reads_it(graphs, model):
    """The same tensors as our own batch, and so the same answer."""
    ours, theirs = collate(graphs.molecules), Batch.from_data_list(list(graphs))
    local = model.encoders["local"]
    _, vectors = local(theirs.x, theirs.edge_index, theirs.edge_attr, theirs.batch, theirs.num_graphs)
    assert torch.equal(theirs.edge_index, ours.edges)
    assert_close(vectors, model.encode(ours, ["local"])["local"], rtol=0, atol=0)


def test_shards_are_graphs(shards_folder):
    graphs = MoleculeGraphs.from_shards(shards_folder)
    assert len(graphs) == 600
    one = graphs[417]
    (again,) = MoleculeGraphs.from_smiles([one.smiles])
    assert one.smiles == again.smiles
    for name in ("x", "edge_index", "edge_attr"):
        assert torch.equal(one[name], again[name])
