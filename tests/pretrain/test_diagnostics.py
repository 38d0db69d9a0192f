import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from pretrain.diagnostics import (
    edges,
    effective_rank,
    gallery_metrics,
    stream_histograms,
    stream_metrics,
)


def test_perfect_views():
    rows = torch.eye(16)
    metrics = stream_metrics(rows, rows)
    assert metrics["recall_at_1"] == 1.0
    assert metrics["positive_cosine"] == 1.0
    assert metrics["negative_cosine"] == 0.0
    assert metrics["alignment"] == 0.0
    assert math.isclose(metrics["uniformity"], -4.0, abs_tol=1e-5)  # all distances are sqrt(2)


def test_a_blind_encoder_scores_chance():
    """Unrelated rows: recall@k is k in g, within five standard errors."""
    torch.manual_seed(0)
    g = 2000
    metrics = stream_metrics(torch.randn(g, 32), torch.randn(g, 32))
    for k in (1, 5, 10):
        assert abs(metrics[f"recall_at_{k}"] - k / g) < 5 * math.sqrt(k / g / g)


def test_equal_rows_are_no_success():
    """A collapsed encoder ties with everybody, and a tie is not a find."""
    metrics = stream_metrics(torch.ones(8, 4), torch.ones(8, 4))
    assert metrics["recall_at_1"] == metrics["recall_at_5"] == 0.0


def test_recall_at_k_by_hand():
    """Partner ranks 1, 2 and 3 forth."""
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    second = torch.tensor([[1.0, 0.1], [1.0, 2.0], [-1.0, 0.2]])
    metrics = stream_metrics(first, second)
    similarity = torch.nn.functional.normalize(first) @ torch.nn.functional.normalize(second).T
    ranks = (similarity >= similarity.diagonal()[:, None]).sum(1)
    assert metrics["recall_at_1_forth"] == (ranks <= 1).float().mean()
    assert metrics["recall_at_5_forth"] == 1.0


def test_streams_and_chance():
    views = {name: torch.randn(10, 4) for name in ("local", "global", "smiles", "text")}
    metrics = gallery_metrics(views)
    assert metrics["chance"] == 0.1
    assert {"graph_recall_at_1", "text_recall_at_1"} <= metrics.keys()


def test_effective_rank_counts_directions():
    assert math.isclose(effective_rank(torch.cat([torch.eye(8), -torch.eye(8)])), 8.0, rel_tol=1e-9)
    line = torch.linspace(-1, 1, 50)[:, None] * torch.ones(1, 8)
    assert math.isclose(effective_rank(line), 1.0, rel_tol=1e-6)


@pytest.mark.parametrize("tile", [1, 7 * 50, 50 * 50])
def test_tiles_are_the_dense_numbers(tile):
    """One row at a time, some with a rest, all at once: what the textbook says of the whole matrix."""
    torch.manual_seed(0)
    first = torch.randn(50, 8)
    second = first + torch.randn(50, 8)
    a, b = normalize(first.double(), dim=1), normalize(second.double(), dim=1)
    cosines, others = a @ b.T, ~torch.eye(50, dtype=torch.bool)
    found = stream_metrics(first, second, tile)
    for k in (1, 5, 10):
        forth = (cosines >= cosines.diagonal()[:, None]).sum(1) <= k
        back = (cosines >= cosines.diagonal()[None, :]).sum(0) <= k
        assert found[f"recall_at_{k}_forth"] == pytest.approx(forth.double().mean().item())
        assert found[f"recall_at_{k}_back"] == pytest.approx(back.double().mean().item())
    assert found["positive_cosine"] == pytest.approx(cosines.diagonal().mean().item(), abs=1e-6)
    assert found["negative_cosine"] == pytest.approx(cosines[others].mean().item(), abs=1e-6)
    spread = [torch.exp(-2 * torch.pdist(rows).square()).mean().log().item() for rows in (a, b)]
    assert found["uniformity"] == pytest.approx(sum(spread) / 2, abs=1e-5)
    counts = stream_histograms(first, second, tile)
    for name, values in (("positive", cosines.diagonal()), ("negative", cosines[others])):
        assert counts[name] == np.histogram(values.numpy(), edges())[0].tolist()


def test_every_pair_is_counted_once():
    """Also those that rounding carries past 1, and those of an encoder that collapsed."""
    rows = torch.full((9, 3), 0.7)
    counts = stream_histograms(rows, rows, 18)
    assert counts["positive"] == [0] * 63 + [9]
    assert counts["negative"] == [0] * 63 + [72]
    assert stream_metrics(rows, rows, 18)["recall_at_5"] == 0.0
    assert len(edges()) == 65


def test_numbers_that_went_wrong_are_numbers():
    rows = torch.randn(6, 3)
    rows[2] = math.nan
    metrics = stream_metrics(rows, rows)
    assert math.isnan(metrics["effective_rank"])
    assert sum(stream_histograms(rows, rows)["negative"]) <= 30


class Largest(TorchDispatchMode):
    """The most elements that any operation's result has."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_a_large_gallery_is_never_a_matrix():
    """Nothing is larger than a tile or the rows themselves: 16,384 molecules would make a matrix of 1 GB."""
    torch.manual_seed(0)
    rows = [torch.randn(1000, 16) for _ in range(2)]
    with Largest() as seen:
        counts = stream_histograms(*rows, tile=20_000)
        stream_metrics(*rows, tile=20_000)
    assert seen.elements == 20_000
    assert sum(counts["negative"]) == 1000 * 999
