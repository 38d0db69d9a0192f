"""The closed form of the heads' first weights against scikit-learn's canonical correlations and by its promises."""

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import CCA

from pretrain.batch import collate
from pretrain.diagnostics import stream_metrics
from pretrain.encoders.projection import ProjectionHead
from pretrain.head_start import start_heads
from pretrain.model import STREAMS


def _views(k, shared, noise, seed=0):
    """Two views of k points: different linear maps of the same latent numbers, and noise of their own."""
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(k, shared, generator=generator)
    return [
        latent @ torch.randn(shared, 12, generator=generator)
        + noise * torch.randn(k, 12, generator=generator)
        + 5.0  # a common part, as pooled molecules have
        for _ in range(2)
    ]


def test_correlations_are_scikit_learns(monkeypatch):
    """On the heads' own hidden layers, without shrinkage, the leading correlations are those of CCA."""
    monkeypatch.setattr("pretrain.head_start.SHRINKAGE", 0.0)
    x, y = _views(4000, shared=3, noise=0.5)
    torch.manual_seed(0)
    first, second = ProjectionHead(12, 8), ProjectionHead(12, 8)
    found = start_heads(first, second, x, y)
    with torch.no_grad():
        hidden = [head.hidden(rows).double().numpy() for head, rows in ((first, x), (second, y))]
    a, b = CCA(n_components=3, scale=False, max_iter=2000).fit_transform(*hidden)
    expected = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(3)]
    np.testing.assert_allclose(found[:3], expected, atol=5e-3)


@pytest.mark.parametrize(
    "projection", [4, 12, 20]
)  # narrower than, as wide as and wider than the hidden layer
def test_views_agree_on_points_that_they_never_saw(projection):
    x, y = _views(3000, shared=6, noise=0.3)
    torch.manual_seed(0)
    first, second = ProjectionHead(12, projection), ProjectionHead(12, projection)
    with torch.no_grad():
        before = stream_metrics(first(x[2000:]), second(y[2000:]))
    start_heads(first, second, x[:2000], y[:2000])
    with torch.no_grad():
        after = stream_metrics(first(x[2000:]), second(y[2000:]))
    assert before["recall_at_1"] < 0.02
    assert after["recall_at_1"] > 10 * before["recall_at_1"] + 0.1
    assert abs(after["negative_cosine"]) < 0.05  # no common direction is left
    assert before["negative_cosine"] > 0.5 or before["negative_cosine"] < after["positive_cosine"]


def test_constant_features_are_no_division_by_zero():
    x, y = _views(100, shared=2, noise=0.1)
    x[:, 3] = 7.0
    first, second = ProjectionHead(12, 8), ProjectionHead(12, 8)
    start_heads(first, second, x, y)
    for head in (first, second):
        assert all(torch.isfinite(parameter).all() for parameter in head.parameters())


@torch.no_grad()
def test_real_molecules_start_far_above_chance(model, molecules, others):
    """At random encoders: the graph stream's other view is found for many molecules that gave no statistics."""
    views = model.encode(collate(others))
    for first, second in STREAMS.values():
        start_heads(model.head(first), model.head(second), views[first], views[second])
    projections, _ = model(collate(molecules))
    metrics = stream_metrics(projections["local"], projections["global"])
    assert metrics["recall_at_1"] > 5 / len(molecules)
