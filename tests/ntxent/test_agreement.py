"""What is wrong on one rank is one error on every rank, at once."""

import re

import pytest
import torch

from tests.distributed import run_ranks
from tests.ntxent import ranks

PATIENCE_S = 30  # a hang would last the 180 of tests/distributed.py

VIEW = torch.ones(4, 3)

# What rank 1 brings where the others have two float32 (4, 3), and what all are told.
FAULTS = [
    ({"second": torch.ones(3, 3)}, r"rank 1: .*row by row.*\(4, 3\) and \(3, 3\)"),
    ({"first": torch.ones(4), "second": torch.ones(4)}, r"rank 1: .*\(n, d\)"),
    ({"first": VIEW.long(), "second": VIEW.long()}, r"rank 1: .*floating point"),
    ({"first": VIEW.to("meta")}, r"rank 1: .*one device.*meta and cpu"),
    ({"first": VIEW[:0], "second": VIEW[:0]}, r"rank 1: .*n = 0"),
    ({"first": VIEW[:, :0], "second": VIEW[:, :0]}, r"rank 1: .*d = 0"),
    ({"temperature": 0.009}, r"rank 1: temperature is at least 0\.01; it is 0\.009"),
    ({"temperature": torch.full((4,), 0.1)}, r"rank 1: one temperature"),
    ({"ids": torch.arange(3)}, r"rank 1: ids .*4 molecules.*\(3,\)"),
    ({"form": "moco"}, r"rank 1: form is .*'moco'"),
    ({"implementation": "dense"}, r"rank 1: implementation is .*'dense'"),
    ({"first": VIEW[:3], "second": VIEW[:3]}, r"same n: it is 4 on rank 0 and 3 on rank 1"),
    ({"first": VIEW[:, :2], "second": VIEW[:, :2]}, r"same d: it is 3 on rank 0 and 2 on rank 1"),
    ({"ids": torch.arange(4)}, r"same ids: it is .* on rank 0 and .* on rank 1"),
    ({"form": "clip"}, r"same form: it is simclr on rank 0 and clip on rank 1"),
    ({"first": VIEW.double()}, r"same precision: it is torch.float32 on rank 0 and torch.float64 on rank 1"),
    (
        {"implementation": "reference"},
        r"same implementation: it is chunked on rank 0 and reference on rank 1",
    ),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What two ranks were told: about each fault, and about a torn library."""
    meeting = tmp_path_factory.mktemp("told")
    everyone = run_ranks(ranks.answers_to_faults, 2, meeting, [fault for fault, _ in FAULTS])
    return list(zip(*everyone, strict=True))


def test_a_fault_on_one_rank_is_told_to_all(told):
    """The same words on every rank, long before a collective would give up, and the next step works."""
    for answers, (_, expected) in zip(zip(*told[0], strict=True), FAULTS, strict=True):
        messages, waits = zip(*answers, strict=True)
        assert len(set(messages)) == 1 and re.search(expected, messages[0]), messages
        assert max(waits) < PATIENCE_S


def test_what_is_out_of_order_is_told_too(told):
    """An error that is not about arguments would leave the others waiting just as well."""
    assert told[1] == ("rank 1: file too short",) * 2
