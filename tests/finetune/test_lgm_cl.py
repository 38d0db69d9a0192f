"""LGM-CL's light stage: what it learns, what it may not notice, and that a switch changes what it says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem

from finetune.config import FinetuneConfig, Fusion, Modality, Task
from finetune.data import read_smiles
from finetune.design import Design, design
from finetune.model import FineTuned, Member
from finetune.readers import Source, encoded_each_time, encoded_once
from finetune.scaler import Scaler
from finetune.systems import needs_of
from finetune.train import Examples, fit
from pretrain.encoder import Encoder
from sharding.errors import UserError
from sharding.featurize import Featurized
from tests.finetune.conftest import DATA, rows_of

VIEWS = ["local", "global", "smiles", "text"]
SMILES = [row["smiles"] for row in rows_of(DATA / "bbbp.csv")[::60][:32]]


@pytest.fixture(scope="module")
def encoder(four_views: Path) -> Encoder:
    """Random weights, all four views."""
    return Encoder.load(four_views)


def _config(**options: object) -> FinetuneConfig:
    given = {"task": Task.regression, "targets": ["y"], "hidden": 32, "width": 16, "dropout": 0.0, **options}
    return FinetuneConfig(encoder="-", table="-", run="-", **given)  # type: ignore[arg-type]


def _made(encoder: Encoder, plan: Design, smiles: list[str] = SMILES) -> Featurized:
    return read_smiles(smiles, encoder, plan.fingerprints)[0]


def _model(encoder: Encoder, **options: object) -> FineTuned:
    plan = design(_config(**options), encoder.model.widths)
    return FineTuned([Member(encoder, plan, Scaler.identity(len(plan.targets)), seed=1)], {})


COMBINATIONS = [[Modality(name) for name in names.split()] for names in (
    "graph", "text", "fingerprint", "graph text", "graph fingerprint", "text fingerprint", "graph text fingerprint",
)]  # fmt: skip


@pytest.mark.parametrize("fusion", Fusion)
@pytest.mark.parametrize("modalities", COMBINATIONS, ids=lambda names: "+".join(names))
def test_every_ablation_reads_what_it_says_and_only_that(
    encoder: Encoder, fusion: Fusion, modalities: list[Modality]
):
    """The answer depends on each modality that is named, through every view, and on no other."""
    model = _model(encoder, fusion=fusion, modalities=modalities)
    needs, member = needs_of(model.design), model.members[0]
    assert set(needs.views) == set(model.design.views)
    assert bool(needs.states) == (fusion == Fusion.cross_attention and bool(needs.views))
    assert {Modality.fingerprint} & {*modalities} == ({Modality.fingerprint} if needs.fingerprints else set())
    made = _made(encoder, model.design, SMILES[:4])
    inputs = encoded_each_time(encoder, Source(made.molecules, made.fingerprints, needs))(np.arange(4))
    assert {*inputs.vectors, *inputs.states} == set(needs.views)
    vectors = member.system.vectors(inputs)
    assert set(vectors) == {*needs.views, *(["fingerprint"] if needs.fingerprints else [])}
    for each in vectors.values():
        each.retain_grad()
    member.system.mlp(member.system.fusion(vectors)).sum().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in vectors.values())
    # every weight is in use: nothing is left over from a modality that is not there
    assert all(weight.grad is not None for weight in member.system.parameters())


def test_a_single_view_of_a_stream_has_nobody_to_read(encoder: Encoder):
    system = _model(encoder, views=["local", "text"], modalities=["graph", "text"]).members[0].system
    assert not system.attention.within and list(system.attention.between) == ["pair"]
    assert list(system.attention.enter) == ["local", "text"]


def test_a_view_outside_of_the_modalities_is_refused(encoder: Encoder):
    with pytest.raises(UserError, match=r"views: 'smiles' is of modality text"):
        design(_config(views=["smiles"], modalities=["graph"]), encoder.model.widths)
    with pytest.raises(UserError, match=r"modalities: 'text' needs the views smiles and text"):
        design(_config(modalities=["text"]), {"local": 4, "global": 4})


@pytest.mark.parametrize("fusion", [Fusion.cross_attention, Fusion.concatenation])
def test_neighbours_and_order_of_a_batch_change_nothing(encoder: Encoder, fusion: Fusion):
    model = _model(encoder, fusion=fusion)
    whole = model.predict(_made(encoder, model.design))
    np.testing.assert_allclose(model.predict(_made(encoder, model.design), batch=1), whole, atol=2e-6)
    order = np.random.default_rng(0).permutation(len(SMILES))
    mixed = model.predict(_made(encoder, model.design, [SMILES[place] for place in order]), batch=5)
    np.testing.assert_allclose(mixed, whole[order], atol=2e-6)


def test_the_order_of_atoms_changes_nothing(encoder: Encoder):
    """The same molecule written from other atoms: canonical before it is read, and equal without that too."""
    model = _model(encoder)
    molecules = [Chem.MolFromSmiles(smiles) for smiles in SMILES[:8]]
    mixed = [Chem.MolToSmiles(molecule, doRandom=True) for molecule in molecules]
    assert mixed != SMILES[:8]
    whole = model.predict(_made(encoder, model.design, SMILES[:8]))
    np.testing.assert_allclose(model.predict(_made(encoder, model.design, mixed)), whole, atol=1e-6)
    graph = _model(encoder, modalities=["graph"])
    made = _made(encoder, graph.design, SMILES[:8])
    expected = graph.predict(made)
    atoms, ends, begin, bond = made.molecules.atoms.copy(), made.molecules.ends.copy(), 0, 0
    for count, bonds in zip(made.molecules.n_atoms.tolist(), made.molecules.n_bonds.tolist(), strict=True):
        order = np.random.default_rng(count).permutation(count)
        atoms[begin : begin + count] = made.molecules.atoms[begin : begin + count][order]
        ends[bond : bond + bonds] = np.argsort(order)[made.molecules.ends[bond : bond + bonds]]
        begin, bond = begin + count, bond + bonds
    moved = replace(made, molecules=replace(made.molecules, atoms=atoms, ends=ends))
    np.testing.assert_allclose(graph.predict(moved), expected, atol=2e-6)


def test_what_is_kept_is_what_would_be_made(encoder: Encoder):
    """Encoded once and read by rows, or with each batch: the same inputs, wherever a molecule stands."""
    for fusion in (Fusion.cross_attention, Fusion.sum):
        model = _model(encoder, fusion=fusion)
        made, member = _made(encoder, model.design), model.members[0]
        source = Source(made.molecules, made.fingerprints, member.needs)
        rows = np.array([5, 31, 0, 5, 12])
        kept, new = (make(encoder, source)(rows) for make in (encoded_once, encoded_each_time))
        assert torch.equal(kept.place, new.place)
        for view in member.needs.states:
            torch.testing.assert_close(kept.states[view].rows, new.states[view].rows, atol=2e-6, rtol=1e-5)
        np.testing.assert_allclose(member.answer(kept), model.predict(made)[rows], atol=2e-6)
        held = source.bytes(encoder.model.widths)
        assert held == 4 * sum(
            int(source.sizes(view).sum() if member.needs.states else len(SMILES)) * encoder.model.widths[view]
            for view in VIEWS
        )


def test_memorises_32_molecules(encoder: Encoder, tmp_path: Path):
    """Random labels, which nothing can explain: the loss goes to zero all the same. Validation is the same part."""
    config = _config(epochs=60, patience=60, learning_rate=3e-3, weight_decay=0.0)
    model = _model(encoder)
    made, member, rows = _made(encoder, model.design), model.members[0], np.arange(len(SMILES))
    labels = np.random.default_rng(0).normal(size=(len(SMILES), 1))
    read = encoded_once(encoder, Source(made.molecules, made.fingerprints, member.needs))
    examples = Examples(labels, rows, rows)
    done = fit(member, read, examples, config, tmp_path / "state", lambda progress: None)
    assert done.records[-1]["train_loss"] < 0.02
    assert np.abs(model.predict(made) - labels).max() < 0.5


def test_shuffled_labels_teach_nothing(encoder: Encoder, tmp_path: Path):
    """Classes at random: what is learned of them in training says nothing about molecules that were left out."""
    smiles = [row["smiles"] for row in rows_of(DATA / "bbbp.csv")[::8]]
    model = _model(encoder, task=Task.classification, fusion=Fusion.concatenation)
    made, member = _made(encoder, model.design, smiles), model.members[0]
    labels = np.random.default_rng(1).integers(0, 2, (len(made.molecules), 1)).astype(float)
    order = np.random.default_rng(2).permutation(len(labels))
    hidden = labels.copy()
    hidden[order[100:]] = np.nan
    read = encoded_once(encoder, Source(made.molecules, made.fingerprints, member.needs))
    config = _config(task=Task.classification, fusion=Fusion.concatenation, epochs=8)
    fit(
        member,
        read,
        Examples(hidden, order[:80], order[80:100]),
        config,
        tmp_path / "s",
        lambda progress: None,
    )
    from sklearn.metrics import roc_auc_score

    rest = order[100:]
    # the area under chance has a deviation of sqrt((n + 1) / (12 n1 n0)), about 0.047 of 155 molecules
    assert abs(roc_auc_score(labels[rest, 0], model.predict(made)[rest, 0]) - 0.5) < 3 * 0.047
