"""A whole sharding job whose texts a language model writes: a real server, a real job, every executor."""

import os
from collections import Counter

import pytest

from sharding import block
from sharding.config import Executor, RecordConfig, ShardConfig, Text
from sharding.errors import UserError
from sharding.job import shard, summary
from sharding.read import Shards
from sharding.verify import verify
from tests.sharding.language_server import configured, expected, folder, local, says, server

__all__ = ["folder", "server"]  # fixtures

COUNT = 40


@pytest.fixture
def job(zinc, tmp_path, monkeypatch):
    """Makes the configuration of a job of 40 molecules."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setitem(os.environ, name, "127.0.0.1")
    (tmp_path / "in.smi").write_text("\n".join(zinc[:COUNT]) + "\n")

    def make(model, output="out", **options):
        record = RecordConfig(text=Text.llm, language_model=model)
        return ShardConfig(
            input=str(tmp_path / "in.smi"), output=str(tmp_path / output), record=record, workers=2, **options
        )

    return make


def _texts(config):
    from pathlib import Path

    shards = Shards(Path(config.output))
    found = {}
    for ref in shards.blocks:
        members = shards.members(ref)
        found |= zip(
            *(block.strings(members[name]) for name in ("smiles.txt.gz", "text.txt.gz")), strict=True
        )
    return found


@pytest.mark.parametrize(
    "executor",
    [
        Executor.serial,
        *(pytest.param(one, marks=pytest.mark.slow) for one in (Executor.processes, Executor.ray)),
    ],
)
def test_the_shards_hold_the_models_texts(server, job, zinc, executor):
    config = job(configured(server), executor=executor)
    manifest = shard(config)
    assert manifest["texts"] == {"written": COUNT}
    assert f"{COUNT} texts written" in summary(manifest)
    assert Counter(_texts(config).values()) == Counter(expected(zinc[:COUNT]))
    assert verify(config) == []


def test_another_job_over_the_same_cache_asks_nothing_and_has_the_same_bytes(server, job, tmp_path):
    cached = configured(server, cache=str(tmp_path / "texts"))
    first = shard(job(cached, "a"))
    asked = len(server.bodies)
    second = shard(job(cached, "b"))
    assert len(server.bodies) == asked
    assert second["texts"] == {"from_cache": COUNT}
    assert [one["sha256"] for one in first["shards"]] == [one["sha256"] for one in second["shards"]]


def test_refused_answers_are_counted_and_the_describer_stands_in(server, job):
    server.script = lambda body, nth: says("no JSON at all")(body)
    manifest = shard(job(configured(server)))
    assert manifest["texts"] == {"fallback.not_json": COUNT}
    assert manifest["n_ok"] == COUNT


def test_another_model_on_the_same_output_is_refused(server, job):
    shard(job(configured(server)))
    with pytest.raises(UserError, match=r"language_model\.temperature: 0\.0, now 0\.7"):
        shard(job(configured(server, temperature=0.7)))


def test_a_wrong_model_stops_before_any_work(server, job, tmp_path):
    with pytest.raises(UserError):
        shard(job(configured(server, model="another")))
    assert not (tmp_path / "out").exists()


def test_a_local_model_through_the_job(folder, job):
    """Random weights write no JSON: every molecule falls back, and is counted."""
    manifest = shard(job(local(folder, retries=0, max_new_tokens=8)))
    assert sum(manifest["texts"].values()) == COUNT
    assert all(name.startswith("fallback.") for name in manifest["texts"])
