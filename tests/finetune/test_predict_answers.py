"""A model's answers: made of what it reads and of nothing else, with the encoder's vectors from the same pass."""

from pathlib import Path

import numpy as np
import pytest

from finetune.config import FinetuneConfig, Fusion, Modality, Task
from finetune.design import design
from finetune.model import FineTuned, Member
from finetune.scaler import Scaler
from pretrain.encoder import Encoder
from sharding.featurize import featurize_strings

SMILES = ["CCO", "c1ccccc1C(=O)N", "[Na+].[Cl-]", "CC(C)Oc1ccncc1", "C", "OCC(O)CO", "Clc1ccc(Br)cc1 "]


def untrained(folder: Path, **options) -> FineTuned:
    config = FinetuneConfig(encoder="", table="", run="", targets=["y"], task=Task.regression, **options)
    encoder = Encoder.load(folder)
    return FineTuned([Member(encoder, design(config, encoder.model.widths), Scaler.identity(1))], {})


def test_what_a_model_does_not_read_is_not_made(four_views):
    """Same graph, same answers; no description, no tokens, no text encoder."""
    model = untrained(four_views, modalities=[Modality.graph])
    made, _ = model.molecules(SMILES)
    whole, _ = featurize_strings(SMILES, model.encoder.tokenizers, model.encoder.record)
    assert made.texts == []
    assert set(made.molecules.n_text_tokens.tolist()) == set(made.molecules.n_smiles_tokens.tolist()) == {1}
    assert whole.molecules.n_text_tokens.min() > 5
    np.testing.assert_array_equal(made.molecules.atoms, whole.molecules.atoms)
    ran = []
    for view, encoder in model.encoder.model.encoders.items():
        encoder.register_forward_hook(lambda *_, view=view: ran.append(view))
    np.testing.assert_array_equal(model.predict(made), model.predict(whole))
    assert set(ran) == {"local", "global"}
    model.encoder.encode(whole.molecules)
    assert set(ran) == {"local", "global", "smiles", "text"}


@pytest.mark.parametrize("fusion", [Fusion.concatenation, Fusion.cross_attention])
def test_vectors_come_with_the_answers(four_views, fusion):
    """In the order asked for; they are the encoder's own, whether the system reads them or states."""
    model = untrained(four_views, fusion=fusion)
    made, _ = model.molecules(SMILES)
    predicted, vectors = model.answers(made, batch=3)
    np.testing.assert_array_equal(predicted, model.predict(made, batch=3))
    own = model.encoder.encode(made.molecules)
    expected = np.concatenate([own[view] for view in model.design.views], axis=1)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_a_model_of_fingerprints_alone_has_no_vectors(four_views):
    model = untrained(four_views, modalities=[Modality.fingerprint])
    assert model.answers(model.molecules(SMILES)[0]).vectors is None
