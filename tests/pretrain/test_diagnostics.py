import math

import torch

from pretrain.diagnostics import effective_rank, gallery_metrics, stream_metrics


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
