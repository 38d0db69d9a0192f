"""What is measured on several ranks is measured once: a window of steps, the gallery, the probe."""

import numpy as np
import pytest
import torch

from pretrain.batch import collate
from pretrain.config import ModelConfig
from pretrain.flops import step_flops
from pretrain.labelled import Labelled
from pretrain.model import STREAMS
from pretrain.train import new_model
from sharding.read import Shards
from tests.distributed import run_ranks
from tests.pretrain import measuring_ranks, ranks
from tests.pretrain.conftest import TINY


@pytest.fixture(scope="module")
def measured(shards_folder, molecules, others, tmp_path_factory):
    """Two ranks under ZeRO-3, and what one process without DeepSpeed finds."""
    folder = tmp_path_factory.mktemp("measured")
    random = np.random.default_rng(0)
    labels = Labelled(others.slice(0, 33), random.normal(size=33), "")
    options = ranks.config(str(shards_folder), "", zero_stage=3)
    found = run_ranks(measuring_ranks.measure, 2, folder, options, molecules.slice(0, 20), labels)
    model = new_model(Shards(shards_folder), options).eval()
    with torch.no_grad():
        views = model.encode(collate(labels.molecules))
    return found, torch.cat(list(views.values()), dim=1)


def test_ranks_share_the_encoding_and_the_first_one_fits(measured):
    """33 molecules on two ranks in batches of 7: the vectors before the heads, each once, in order."""
    (first, second), expected = measured
    torch.testing.assert_close(first["vectors"], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(first["vectors"], second["vectors"])
    assert {"probe", "probe_metric", "probe_baseline"} <= first["score"].keys()
    assert second["score"] == {}


def test_a_gallery_over_ranks(measured):
    (first, second), _ = measured
    assert first["numbers"] == second["numbers"]
    assert first["numbers"]["gallery"] == 20
    assert sum(first["histograms"]["text_positive"]) == 20
    assert sum(first["histograms"]["text_negative"]) == 380
    assert len(first["histograms"]["edges"]) == 65


def test_a_window_over_ranks(measured, molecules):
    """Losses of fine steps only: on rank 0 and 1 the graph's are 1, nan, 3 and 2, nan, 4."""
    (first, second), _ = measured
    (numbers, note), (none_fine, _) = first["windows"]
    assert numbers["graph_loss"] == 2.5
    assert numbers["text_loss"] == 2.0
    assert numbers["loss"] == 2.25
    assert numbers["seconds"] > 100
    assert 0 < numbers["data_wait"] <= 1
    assert numbers["memory_gb"] > 0.05
    rate = numbers["molecules_per_s"] / (3 * 16)  # three steps of train.batch
    tokens = molecules.n_smiles_tokens[:20].sum(dtype=int) + molecules.n_text_tokens[:20].sum(dtype=int)
    assert numbers["tokens_per_s"] == pytest.approx(3 * tokens * rate)
    work = step_flops(ModelConfig(**TINY | {"text_layers": 1}), STREAMS, collate(molecules.slice(0, 20)))
    assert numbers["flops_per_s"] == pytest.approx(3 * work * rate)
    assert "mfu" not in numbers  # of a CPU nobody knows the peak
    assert "skipped" not in note
    assert "loss 2.250 (chance 3.43)" in note
    assert np.isnan(none_fine["loss"])
    assert none_fine["skipped"] == 1
    assert second["windows"][0][0]["loss"] == 2.25
