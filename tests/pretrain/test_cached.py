"""Batches beyond memory: the gradients of one graph, in the memory of one chunk, on every ZeRO stage."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from pretrain.batch import collate, collate_chunks
from pretrain.config import SameMolecule, TrainConfig
from pretrain.step import seed_dropout
from sharding.config import RecordConfig
from sharding.errors import UserError
from sharding.featurize import featurize_strings
from tests.distributed import run_ranks
from tests.pretrain import cached_ranks

CHUNK = 3
"""Of 14 molecules on one rank or 7 on each of two: the last chunk is ragged, on two ranks a single molecule."""


@pytest.fixture(scope="module", params=[1, 2], ids=["one rank", "two ranks"])
def gradients(request, others, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gradients")
    return run_ranks(cached_ranks.all_gradients, request.param, folder, others.slice(0, 14), CHUNK)


@pytest.mark.parametrize(
    ("stage", "uncached"),
    [(stage, "in the same chunks") for stage in range(4)] + [(0, "never cut")],
)
def test_gradients_are_those_of_one_graph(gradients, stage, uncached):
    """Every weight of both streams, and the temperature: in the same chunks with dropout, never cut without."""
    for of_rank in gradients:
        expected, found = of_rank[stage][uncached]
        whole = torch.cat([gradient.flatten() for gradient in expected]).norm()
        assert whole > 0.01
        for mine, theirs in zip(found, expected, strict=True):
            assert mine.dtype == torch.float64
            # what is a rounding error of the others has no digits to compare
            assert (mine - theirs).norm() <= 1e-12 * max(theirs.norm(), 1e-3 * whole)


def test_dropout_was_on(gradients):
    """Otherwise the comparison above would say nothing about its replay."""
    for of_rank in gradients:
        with_it, without = (torch.cat([g.flatten() for g in pair[1]]) for pair in of_rank[0].values())
        assert (with_it - without).norm() > 0.1 * without.norm()


def test_memory_grows_by_projections_alone(others, tmp_path):
    """Four times the molecules in chunks of the same size: what autograd holds grows by a few rows a molecule."""
    chunk, (few, many) = others.slice(0, 16), (2, 8)
    first, last = run_ranks(cached_ranks.saved_bytes, 1, tmp_path, chunk, (few, many))[0]
    more = 16 * (many - few)
    rows = more * 16 * 4 * 4  # float32 projections of width 16 in four views
    assert last["cached"] - first["cached"] <= 4 * rows
    assert last["one graph"] > 3 * first["one graph"]
    assert last["cached"] < last["one graph"] / 4


def test_randomness_that_is_not_replayed_is_noticed(others, tmp_path):
    with pytest.raises(RuntimeError, match=r"differs from the first by \d+%"):
        run_ranks(cached_ranks.forgotten_seed, 1, tmp_path, others.slice(0, 8))


def test_a_run_in_chunks_resumes_as_if_never_stopped(shards_folder, tmp_path):
    """16 molecules a step in chunks of 5, dropout on: the same losses and, bit for bit, the same weights."""
    options = {"steps": 4, "save_every": 2, "chunk": 5, "zero_stage": 1}
    arguments = (str(shards_folder), str(tmp_path), options)
    straight, resumed = run_ranks(cached_ranks.straight_and_resumed, 1, tmp_path, *arguments)[0]
    assert straight["steps"] == resumed["steps"] == [1, 2, 3, 4]
    assert straight["losses"] == resumed["losses"]
    assert straight["weights"] == resumed["weights"]


@pytest.mark.parametrize(
    ("chunk", "sizes"), [(0, [35]), (1, [1] * 35), (16, [16, 16, 3]), (35, [35]), (99, [35])]
)
def test_chunks_hold_every_molecule_in_order(molecules, chunk, sizes):
    chunks = collate_chunks(molecules, chunk)
    assert [part.size for part in chunks] == sizes
    whole = collate(molecules)
    for name in ("ids", "atoms", "edge_bonds"):
        assert torch.equal(torch.cat([getattr(part, name) for part in chunks]), getattr(whole, name))


def test_a_negative_chunk_is_refused():
    with pytest.raises(UserError, match=r"train\.chunk=-1"):
        TrainConfig(chunk=-1)


@pytest.fixture(scope="module")
def stereoisomers(zinc, tokenizers):
    """Eight molecules with ids of their skeletons; the second of each half is the other's mirror image."""
    strings = [*zinc[:4], *zinc[4:8]]
    strings[1], strings[5] = "C[C@H](N)C(=O)Nc1ccccc1", "C[C@@H](N)C(=O)Nc1ccccc1"
    made, _ = featurize_strings(strings, tokenizers, RecordConfig(skeleton=True))
    assert len(np.unique(made.molecules.ids)) == 8
    assert len(np.unique(made.skeletons)) == 7
    return replace(made.molecules, ids=made.skeletons)


def test_the_same_skeleton_on_two_ranks_is_no_negative(stereoisomers, tmp_path):
    """Loss and gradients of two ranks are those of one process, and not those of everybody being a negative."""
    choices = (SameMolecule.skeleton, SameMolecule.none)
    (alone,) = run_ranks(cached_ranks.masked_gradients, 1, tmp_path, stereoisomers, choices)
    (loss, gradients), (unmasked, _) = alone
    assert unmasked - loss > 1e-3
    for (found, theirs), _ in run_ranks(cached_ranks.masked_gradients, 2, tmp_path, stereoisomers, choices):
        assert_close(found, loss, rtol=1e-12, atol=0)
        for mine, expected in zip(theirs, gradients, strict=True):
            assert_close(mine, expected, rtol=1e-9, atol=1e-13)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_is_replayed_on_a_gpu(others, dtype):
    """A forward with a graph draws what the one without drew, whichever kernels each of them chooses."""
    model = cached_ranks.model_of(others, 0.3, dtype).cuda()
    batch, seed = collate(others).to(torch.device("cuda")), partial(seed_dropout, 0, 0, 0, 0)
    seed()
    with torch.no_grad():
        before, _ = model(batch)
    seed()
    again, _ = model(batch)
    for view, rows in again.items():
        assert (rows - before[view]).norm() <= 0.02 * rows.norm(), view
