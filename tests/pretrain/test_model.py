"""The two streams: they learn, and each option changes what it says."""

import math

import pytest
import torch

from pretrain.batch import collate
from pretrain.config import LossConfig, ModelConfig, Streams
from pretrain.diagnostics import gallery_metrics
from pretrain.head_start import start_heads
from pretrain.model import STREAMS, TwoStreams, Vocabularies
from pretrain.ntxent import ntxent_loss
from tests.pretrain.conftest import TINY


@pytest.mark.parametrize(("stream", "steps"), [("graph", 300), ("text", 80)])
def test_it_memorises_32_molecules(stream, steps, tokenizers, molecules, others):
    """Every one of 32 molecules is found: the gradient reaches both encoders of a stream and is of use.

    The heads start from 200 other molecules, as they do in a run: random ones need hundreds of steps more.
    """
    torch.manual_seed(0)
    batch = collate(molecules.slice(0, 32))
    sizes = Vocabularies(tokenizers.smiles.size, tokenizers.text.size)
    wide = {"graph_hidden": 64, "text_hidden": 32, "text_layers": 1, "projection": 32}
    model = TwoStreams(ModelConfig(**TINY | wide), LossConfig(streams=Streams(stream)), sizes)
    first, second = STREAMS[stream]
    with torch.no_grad():
        views = model.encode(collate(others))
    start_heads(model.head(first), model.head(second), views[first], views[second])
    before = {name: weight.clone() for name, weight in model.encoders.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(steps):
        projections, temperature = model(batch)
        loss = ntxent_loss(projections[first], projections[second], temperature=temperature)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        metrics = gallery_metrics(model.eval()(batch)[0])
    assert loss.item() < math.log(63) / 4  # a quarter of chance
    assert metrics[f"{stream}_recall_at_1"] == 1.0
    for name, weight in model.encoders.state_dict().items():
        if weight.numel() > 32 * 32:
            assert not torch.equal(weight, before[name]), name


@pytest.mark.parametrize(
    ("streams", "views"), [(Streams.graph, {"local", "global"}), (Streams.text, {"smiles", "text"})]
)
def test_a_stream_that_is_not_trained_is_not_built(streams, views, tokenizers, batch):
    sizes = Vocabularies(tokenizers.smiles.size, tokenizers.text.size)
    model = TwoStreams(ModelConfig(**TINY), LossConfig(streams=streams), sizes)
    assert set(model.encoders) == set(model(batch)[0]) == views


def test_the_temperature_is_what_was_asked(model, tokenizers, batch):
    sizes = Vocabularies(tokenizers.smiles.size, tokenizers.text.size)
    fixed = TwoStreams(ModelConfig(**TINY), LossConfig(temperature=0.07), sizes)
    assert fixed(batch)[1] == 0.07
    learned = model(batch)[1]
    torch.testing.assert_close(learned, torch.tensor(0.1))
    learned.backward()
    assert model.log_scale.grad is not None
    with torch.no_grad():
        model.log_scale.fill_(100.0)
    torch.testing.assert_close(model(batch)[1], torch.tensor(0.01))  # held at the coldest
