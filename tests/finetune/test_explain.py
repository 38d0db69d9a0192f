"""Explanations add up to the answers that they explain, and see what is there and nothing else."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from finetune.config import Fusion, Modality, Task
from finetune.explain import atoms, attention
from finetune.explain.atoms import atom_values
from finetune.explain.attention import readings, reads, spelled, word_weights
from finetune.explain.choice import choose
from finetune.explain.shares import modalities, shapley, shares
from finetune.explain.space import embedding_map, fused
from finetune.inputs import Inputs
from finetune.model import FineTuned
from finetune.readers import Source, encoded_each_time
from sharding.feature_table import SYMBOLS
from tests.finetune.explained import SCALE, untrained

SMILES = ["CCO", "c1ccccc1C(=O)N", "CC(C)Oc1ccncc1", "C1CCCCC1N", "OCC(O)CO", "Clc1ccc(Br)cc1"]


@pytest.fixture(scope="module")
def model(four_views) -> FineTuned:
    """All modalities, attention, two members, two targets."""
    return untrained(four_views, 2, targets=["y", "z"])


@pytest.fixture(scope="module")
def alone(model) -> FineTuned:
    """Its first member."""
    return FineTuned(model.members[:1], {})


@pytest.fixture(scope="module")
def made(model):
    """The molecules as the model reads them."""
    return model.molecules(SMILES)[0]


def test_shapley_values_add_up_to_the_answer_less_the_backgrounds(model, made):
    background = model.molecules(["CCCC"])[0]
    values = shapley(model, made, background, each=1)
    assert modalities(model) == ["graph", "text", "fingerprint"]
    assert values.shape == (6, 2, 3)
    np.testing.assert_allclose(values.sum(2), model.predict(made) - model.predict(background), atol=1e-5)
    found = shares(values)
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found.sum(1), 1)
    assert (found > 0).all()


def test_a_modality_that_says_the_same_contributes_nothing(model):
    """Against itself as background nothing differs, so nothing contributes."""
    same = model.molecules(["CCO"])[0]
    np.testing.assert_allclose(shapley(model, same, same, each=2), 0, atol=1e-6)
    np.testing.assert_allclose(shares(np.zeros((2, 1, 3))), [[1 / 3] * 3])


def test_shares_are_of_each_target():
    """Of another target's unit nothing is seen."""
    values = np.array([[[1.0, -3.0], [1000.0, 0.0]], [[-1.0, 3.0], [-1000.0, 0.0]]])
    np.testing.assert_allclose(shares(values), [[0.25, 0.75], [1, 0]])


class OnlyMaccs(nn.Module):
    """Answers with the number of MACCS keys."""

    def forward(self, inputs: Inputs):
        return inputs.fingerprints["maccs"].sum(1, keepdim=True)


def test_a_model_that_reads_the_fingerprint_alone_says_so(four_views):
    planted = untrained(four_views)
    planted.members[0].system = OnlyMaccs()
    own, background = planted.molecules(SMILES)[0], planted.molecules(["CCCC"])[0]
    np.testing.assert_allclose(shares(shapley(planted, own, background)), [[0, 0, 1]], atol=1e-9)


def test_atom_values_add_up_to_the_answer_less_that_of_no_atoms(alone, made):
    values, (member,) = atom_values(alone, made), alone.members
    sizes = made.molecules.n_atoms.astype(int)
    sums = np.add.reduceat(values, np.concatenate([[0], np.cumsum(sizes)[:-1]]))
    read = encoded_each_time(member.encoder, Source(made.molecules, made.fingerprints, member.needs))
    with atoms._scaled(0.0, member), torch.no_grad():
        empty = member.answer(read(np.arange(len(SMILES))))
    expected = (alone.predict(made) - empty)[:, 0]
    np.testing.assert_allclose(sums, expected, atol=0.02 * np.abs(expected).max())


def test_atom_values_belong_to_their_molecules(alone, made, monkeypatch):
    """By itself, or among others of other sizes: the same values. The model answers as before."""
    monkeypatch.setattr(atoms, "STEPS", 2)
    before, together = alone.predict(made), atom_values(alone, made)
    single = np.concatenate([atom_values(alone, alone.molecules([smiles])[0]) for smiles in SMILES])
    np.testing.assert_allclose(together, single, atol=1e-5)
    np.testing.assert_array_equal(alone.predict(made), before)


def test_symmetric_atoms_have_equal_values(alone, monkeypatch):
    """Both ring carbons beside the nitrogen of pyridine."""
    monkeypatch.setattr(atoms, "STEPS", 2)
    values = atom_values(alone, alone.molecules(["c1ccncc1"])[0])
    assert values[2] == pytest.approx(values[4], abs=1e-6)
    assert values[1] == pytest.approx(values[5], abs=1e-6)


class Nitrogens(nn.Module):
    """Stands in for the local encoder: an atom's state is whether it is nitrogen; the read-out is empty."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin1, self.width = nn.Linear(39, 1, bias=False), width
        with torch.no_grad():
            self.lin1.weight.zero_()[0, SYMBOLS.index("N")] = 1

    def forward(self, inputs, edges, bonds, owner, size):
        return self.lin1(inputs).expand(-1, self.width), inputs.new_zeros(size, self.width)


class Total(nn.Module):
    """Answers with the sum over a molecule's rows."""

    def forward(self, inputs: Inputs):
        states = inputs.states["local"]
        zeros = states.rows.new_zeros(len(states.whole.present), 1)
        return zeros.index_add(0, states.owner, states.rows[:, :1])


def test_a_model_that_counts_nitrogens_names_the_nitrogens(graph_encoder):
    """Its integrated gradients are known exactly: one (in the label's unit) at each nitrogen, nothing elsewhere."""
    planted = untrained(graph_encoder, views=["local"], modalities=[Modality.graph])
    planted.members[0].system = Total()
    planted.encoder.model.encoders["local"] = Nitrogens(planted.encoder.model.widths["local"])
    molecules = planted.molecules(["CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "NCCc1c[nH]c2ccccc12", "CCO", "N"])[0]
    expected = [SCALE * (symbol == "N") for symbol in "".join(molecules.smiles).upper() if symbol in "CNO"]
    np.testing.assert_allclose(atom_values(planted, molecules), expected, atol=1e-6)


def _keep(said: dict[nn.Module, Tensor], block: nn.Module, _: object, out: tuple[Tensor, Tensor]) -> None:
    """What the fingerprint's words read, by block."""
    said[block] = out[1]


def test_attention_is_what_the_forward_used(model, made):
    """Its rows sum to one, padding gets none, and with it the block says what it said in the forward."""
    for member in model.members:
        read = encoded_each_time(member.encoder, Source(made.molecules, made.fingerprints, member.needs))
        member.system.eval()
        said: dict[nn.Module, Tensor] = {}
        keep = partial(_keep, said)
        blocks = member.system.attention.between.values()
        handles = [block.register_forward_hook(keep) for block in blocks]
        with torch.no_grad(), attention._entered(member) as entered:
            member.system(read(np.arange(len(SMILES))))
        for handle in handles:
            handle.remove()
        assert list(entered) == ["graph", "text"]
        for block, x, words in entered.values():
            weights = word_weights(block, x, words)
            torch.testing.assert_close(weights.sum(-1), torch.ones(6, 2, 3))
            assert not weights.masked_select(~x.whole.present[:, None, None]).any()
            values = torch.einsum("nxd,hed->nhxe", x.matrix(block.norms[0](x.rows)), block.weight(0, 2))
            output = block.outputs[1]((weights @ values).transpose(1, 2).flatten(2))
            torch.testing.assert_close(output, said[block], atol=1e-5, rtol=1e-4)


def test_readings_belong_to_their_molecules_and_sum_to_one(model, made):
    together = readings(model, made)
    for place, smiles in [(0, SMILES[0]), (2, SMILES[2])]:
        single = readings(model, model.molecules([smiles])[0])[0]
        for view, weights in together[place].weights.items():
            np.testing.assert_allclose(weights, single.weights[view], atol=1e-6)
        for views in (("local", "global"), ("smiles", "text")):
            whole = sum(together[place].weights[view].sum(1) for view in views)
            np.testing.assert_allclose(whole, 1, atol=1e-5)
        assert together[place].atoms.shape == (3, made.molecules.n_atoms[place])


def test_words_carry_the_weights_of_their_tokens(model, made):
    reading, tokenizers = readings(model, made)[1], model.encoder.tokenizers
    for view, text, folder in (
        ("smiles", made.smiles[1], tokenizers.smiles),
        ("text", made.texts[1], tokenizers.text),
    ):
        weights = reading.weights[view]
        words = spelled(text, folder, weights, symbols=view == "smiles")
        markers = weights[:, [0, 1, -1]].sum(1)  # the read-out, the start and the end
        np.testing.assert_allclose(sum(word.weights for word in words), weights.sum(1) - markers)
        assert sum(word.tokens for word in words) == weights.shape[1] - 3
        spelt = [text[word.begin : word.end] for word in words]
        assert "".join(spelt) == text.replace(" ", "")
    assert "hydrogen-bond" in spelt


def test_who_reads_nothing_is_known(four_views):
    assert not reads(untrained(four_views, fusion=Fusion.concatenation))
    assert not reads(untrained(four_views, modalities=[Modality.graph, Modality.text]))
    assert not reads(untrained(four_views, modalities=[Modality.fingerprint]))
    graph = untrained(four_views, modalities=[Modality.graph, Modality.fingerprint])
    assert reads(graph)
    assert set(readings(graph, graph.molecules(SMILES)[0])[0].weights) == {"local", "global"}


def test_a_map_keeps_clusters_and_says_how_well(model, made):
    random = np.random.default_rng(0)
    clusters = np.repeat(np.eye(3, 20) * 30, 15, axis=0) + random.normal(size=(45, 20))
    kept = embedding_map(clusters)
    assert kept.places.shape == (45, 2)
    assert kept.trustworthiness > 0.8
    assert kept.continuity > 0.8
    mixed = embedding_map(random.normal(size=(45, 20)))
    assert mixed.trustworthiness < kept.trustworthiness
    assert fused(model, made).shape == (6, 2 * 5 * 16)
    few = clusters[::9]
    np.testing.assert_array_equal(embedding_map(few, 3).places, embedding_map(few, 3).places)


def test_the_surest_right_and_the_most_wrong_are_drawn():
    labels = np.array([1, 1, 1, 0, 0, 1, np.nan])
    answers = np.array([0.9, 0.6, 0.99, 0.1, 0.95, 0.3, 0.999])
    drawn = choose(labels, answers, Task.classification, 6)
    by_why: dict[str, list[int]] = {}
    for one in drawn:
        by_why.setdefault(one.why, []).append(one.place)
    assert by_why == {
        "surest right, class 1": [2, 0, 1], "surest right, class 0": [3], "most wrong": [4, 5]
    }  # fmt: skip
    errors = choose(np.zeros(4), np.array([0.1, 5, -7, 1]), Task.regression, 3)
    assert [(one.place, one.why) for one in errors] == [
        (0, "nearest to its label"), (1, "most too high"), (2, "most too low")
    ]  # fmt: skip
    unknown = choose(np.full(3, np.nan), np.array([0.5, 0.2, 0.7]), Task.classification, 2)
    assert [one.place for one in unknown] == [2, 1]
