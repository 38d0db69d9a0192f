"""The text towers in transformers' form: opened by AutoModel and AutoTokenizer, they say what our encoder says."""

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, DebertaV2Model

from pretrain.batch import collate
from pretrain.config import LossConfig, ModelConfig, Streams
from pretrain.encoder import Encoder, build, describe_encoder
from pretrain.huggingface import save_huggingface
from sharding.config import RecordConfig
from sharding.errors import UserError
from sharding.featurize import featurize_strings
from tests.pretrain.conftest import TINY

RECORD = RecordConfig(max_smiles_tokens=40)
"""Some of the molecules below are cut."""


def _encoder(tokenizers, streams: Streams) -> Encoder:
    torch.manual_seed(5)
    about = describe_encoder(
        ModelConfig(**TINY), LossConfig(streams=streams), RECORD, tokenizers, {"run": "none"}
    )
    return Encoder(build(about, tokenizers).eval(), tokenizers, RECORD, about)


@pytest.fixture(scope="module")
def encoder(tokenizers) -> Encoder:
    return _encoder(tokenizers, Streams.both)


@pytest.fixture(scope="module")
def folder(encoder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("huggingface")
    assert save_huggingface(encoder, folder) == ["smiles", "text"]
    return folder


@pytest.fixture(scope="module")
def made(encoder, zinc):
    return featurize_strings(["C", "[Na+].[Cl-]", *zinc[:30]], encoder.tokenizers, RECORD)[0]


@torch.no_grad()
@pytest.mark.parametrize("view", ["smiles", "text"])
def test_states_and_vectors_are_ours(view, folder, encoder, made):
    """Strings of all lengths, padded in one matrix; some are cut."""
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder / view),
        AutoModel.from_pretrained(folder / view).eval(),
    )
    assert type(model) is DebertaV2Model
    strings = made.smiles if view == "smiles" else made.texts
    tokens = tokenizer(strings, padding=True, truncation=True, return_tensors="pt")
    shown = tokens["attention_mask"]
    assert not shown.all()
    lengths = getattr(made.molecules, f"n_{view}_tokens")
    if view == "smiles":
        assert made.cut["smiles"] > 0
    assert shown.sum(1).tolist() == lengths.tolist()
    states, vectors = encoder.model.states(collate(made.molecules))[view]
    found = model(**tokens).last_hidden_state
    torch.testing.assert_close(found[shown.bool()], states, rtol=0, atol=1e-5)
    pooled = (found * shown[..., None]).sum(1) / shown.sum(1, keepdim=True)
    torch.testing.assert_close(pooled, vectors, rtol=0, atol=1e-5)


@pytest.mark.parametrize("view", ["smiles", "text"])
def test_the_example_of_its_readme_runs(view, folder, encoder):
    card = (folder / view / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names: dict = {}
    exec(code.replace("this/folder", str(folder / view)), names)
    assert names["vectors"].shape == (2, TINY["text_hidden"])
    if view == "smiles":
        ours = encoder.embed(["CCO", "c1ccccc1"], views=["smiles"]).vectors["smiles"]
        torch.testing.assert_close(names["vectors"].detach(), torch.from_numpy(ours), rtol=0, atol=1e-5)


def test_an_encoder_without_text_says_so(tokenizers, tmp_path):
    with pytest.raises(UserError, match="no text stream, only local, global"):
        save_huggingface(_encoder(tokenizers, Streams.graph), tmp_path / "out")
    assert not (tmp_path / "out").exists()
