"""A small model and real batches for the tests of the pretraining room."""

import pytest
import torch

from pretrain.batch import collate
from pretrain.config import LossConfig, ModelConfig
from pretrain.model import TwoStreams, Vocabularies
from sharding.config import RecordConfig
from sharding.featurize import featurize_strings
from sharding.tokens import Tokenizers

TINY = {
    "graph_hidden": 16,
    "global_heads": 2,
    "text_hidden": 16,
    "text_layers": 2,
    "text_heads": 2,
    "text_feedforward": 32,
    "projection": 16,
    "dropout": 0.0,
}


@pytest.fixture(scope="session")
def tokenizers():
    return Tokenizers.load()


@pytest.fixture(scope="session")
def molecules(zinc, tokenizers):
    """32 ZINC molecules as columns, and three unusual ones: a single atom, a salt, an ion without bonds."""
    return featurize_strings(
        [*zinc[:32], "C", "[Na+].[Cl-]", "CC(=O)[O-].[NH4+]"], tokenizers, RecordConfig()
    )[0].molecules


@pytest.fixture(scope="session")
def others(zinc, tokenizers):
    """200 more."""
    return featurize_strings(zinc[1000:1200], tokenizers, RecordConfig())[0].molecules


@pytest.fixture
def batch(molecules):
    return collate(molecules)


@pytest.fixture
def model(tokenizers):
    """The two-stream model at toy width, in evaluation mode."""
    torch.manual_seed(0)
    sizes = Vocabularies(tokenizers.smiles.size, tokenizers.text.size)
    return TwoStreams(ModelConfig(**TINY), LossConfig(learn_temperature=True), sizes).eval()
