"""Explanations add up to the answers that they explain, and see what is there and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.config import FinetuneConfig, Modality, Task
from finetune.explain import atoms
from finetune.explain.atoms import atom_values
from finetune.explain.shares import modalities, shapley, shares
from finetune.explain.space import embedding_map
from finetune.job import finetune
from finetune.model import FineTuned
from sharding.errors import UserError

DATA = Path(__file__).parents[1] / "data"
SMILES = ["CCO", "c1ccccc1C(=O)N", "CC(C)Oc1ccncc1", "C1CCCCC1N", "OCC(O)CO", "Clc1ccc(Br)cc1"]
OTHERS = ["CCCC", "c1ccsc1", "NCC(=O)O", "CC#N", "C1CC1"]


def model_of(encoder: Path, folder: Path, **options) -> FineTuned:
    rows = (DATA / "esol.csv").read_text().splitlines()
    (folder / "table.csv").write_text("\n".join(rows[:61]) + "\n")
    finetune(
        FinetuneConfig(
            encoder=str(encoder), table=str(folder / "table.csv"), targets=["log_solubility"],
            task=Task.regression, run=str(folder / "run"), epochs=2, hidden=16, width=16, heads=2, **options,
        )
    )  # fmt: skip
    return FineTuned.load(folder / "run")


@pytest.fixture(scope="module")
def model(four_views, tmp_path_factory) -> FineTuned:
    """All modalities, attention, two members."""
    return model_of(four_views, tmp_path_factory.mktemp("all"), members=2)


def test_shapley_values_add_up_to_the_answer_less_the_backgrounds(model):
    own, background = model.molecules(SMILES)[0], model.molecules(["CCCC"])[0]
    values = shapley(model, own, background, each=1)
    assert modalities(model) == ["graph", "text", "fingerprint"]
    assert values.shape == (6, 1, 3)
    expected = model.predict(own) - model.predict(background)
    np.testing.assert_allclose(values.sum(2), expected, atol=1e-5)
    found = shares(values)
    assert found.sum() == pytest.approx(1)
    assert (found > 0).all()


def test_a_modality_that_says_the_same_contributes_nothing(model):
    """Against itself as background nothing differs, so nothing contributes."""
    same = model.molecules(["CCO"])[0]
    np.testing.assert_allclose(shapley(model, same, same, each=2), 0, atol=1e-6)
    np.testing.assert_allclose(shares(np.zeros((2, 1, 3))), [1 / 3] * 3)


def test_atom_values_add_up_to_the_answer_less_that_of_no_atoms(model, monkeypatch):
    monkeypatch.setattr(atoms, "STEPS", 60)
    made = model.molecules(SMILES)[0]
    values = atom_values(model, made)
    sizes = made.molecules.n_atoms.astype(int)
    sums = np.add.reduceat(values, np.concatenate([[0], np.cumsum(sizes)[:-1]]))
    empty = []
    for member in model.members:
        with atoms._scaled(0.0, member), torch.no_grad():
            read = atoms.encoded_each_time(
                member.encoder, atoms.Source(made.molecules, made.fingerprints, member.needs)
            )
            empty.append(member.answer(read(np.arange(len(SMILES)))))
    expected = (model.predict(made) - np.mean(empty, axis=0))[:, 0]
    np.testing.assert_allclose(sums, expected, atol=0.02 * np.abs(expected).max())


def test_atom_values_belong_to_their_molecules(model, monkeypatch):
    """Alone, or among others of other sizes: the same values."""
    monkeypatch.setattr(atoms, "STEPS", 4)
    together = atom_values(model, model.molecules(SMILES)[0])
    alone = np.concatenate([atom_values(model, model.molecules([smiles])[0]) for smiles in SMILES])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_symmetric_atoms_have_equal_values(model):
    """Both ring carbons beside the nitrogen of pyridine."""
    values = atom_values(model, model.molecules(["c1ccncc1"])[0])
    assert values[2] == pytest.approx(values[4], abs=1e-6)
    assert values[1] == pytest.approx(values[5], abs=1e-6)


def test_a_model_without_graph_has_no_atom_values(four_views, tmp_path):
    model = model_of(four_views, tmp_path, modalities=[Modality.text])
    assert modalities(model) == ["text"]
    with pytest.raises(UserError, match="reads no graph"):
        atom_values(model, model.molecules(SMILES)[0])


def test_a_map_keeps_clusters_and_says_how_well():
    random = np.random.default_rng(0)
    clusters = np.repeat(np.eye(3, 20) * 30, 25, axis=0) + random.normal(size=(75, 20))
    kept = embedding_map(clusters)
    assert kept.places.shape == (75, 2)
    assert kept.trustworthiness > 0.8
    assert kept.continuity > 0.8
    mixed = embedding_map(random.normal(size=(75, 20)))
    assert mixed.trustworthiness < kept.trustworthiness
