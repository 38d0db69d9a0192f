"""Whatever happens to finished shards is seen by verify and by the reader, and repair mends only that."""

import shutil

import numpy as np
import pytest

from sharding.config import Mode, ShardConfig
from sharding.errors import UserError
from sharding.files import read_json, sha256
from sharding.job import shard
from sharding.read import DamagedShard, Shards
from sharding.verify import repair, verify


@pytest.fixture(scope="module")
def made(zinc, tmp_path_factory):
    """A small set in four shards, and its input."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "in.smi").write_text("\n".join([*zinc[:60], "C1CC", zinc[3]]) + "\n")
    config = ShardConfig(input=str(folder / "in.smi"), output=str(folder / "out"), time_limit_s=0)
    shard(config)
    return config


@pytest.fixture
def config(made, tmp_path):
    """A copy to damage."""
    shutil.copytree(made.output, tmp_path / "out")
    return ShardConfig(input=made.input, output=str(tmp_path / "out"), mode=Mode.verify, time_limit_s=0)


def _shard(config, number=1):
    return next(
        (p for p in sorted((_root(config) / "shards").glob("*.tar")) if p.name == f"s{number:06d}.tar"), None
    )


def _root(config):
    from pathlib import Path

    return Path(config.output)


def _reads_all(config):
    shards = Shards(_root(config))
    return sum(len(shards.read(ref)) for ref in shards.blocks)


def test_what_was_written_is_what_is_found(config):
    assert verify(config) == []
    assert _reads_all(config) == 60


def test_truncation_at_every_512_bytes_is_seen(config):
    file = _shard(config)
    whole = file.read_bytes()
    for length in range(0, len(whole), 512):
        file.write_bytes(whole[:length])
        (problem,) = verify(config)
        assert problem.file == "shards/s000001.tar"
        assert f"{length:,} of {len(whole):,} bytes" in problem.what
    file.write_bytes(whole)
    assert verify(config) == []


def test_any_flipped_bit_is_seen(config):
    file = _shard(config)
    whole = bytearray(file.read_bytes())
    for place in np.random.default_rng(0).integers(0, len(whole) * 8, 60).tolist():
        whole[place // 8] ^= 1 << place % 8
        file.write_bytes(whole)
        assert [problem.what for problem in verify(config)] == ["bytes differ (SHA-256)"]
        whole[place // 8] ^= 1 << place % 8


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda file: file.unlink(), "missing"),
        (lambda file: file.write_bytes(b"<html>404 Not Found</html>"), "a web page or text by its beginning"),
        (lambda file: file.write_bytes(b""), "0 of"),
        (lambda file: file.write_bytes(file.with_name("s000002.tar").read_bytes()), "bytes|differ"),
    ],
)
def test_a_lost_or_foreign_shard_is_seen_by_verify_and_reader_and_second_run(damage, words, config):
    damage(_shard(config))
    (problem,) = verify(config)
    assert problem.file == "shards/s000001.tar"
    assert words in problem.what or "differ" in problem.what or "bytes" in problem.what
    with pytest.raises(DamagedShard, match=r"s000001\.tar"):
        _reads_all(config)


def test_a_second_run_notices_a_shard_of_another_length(config):
    _shard(config).write_bytes(b"")
    with pytest.raises(UserError, match=r"s000001\.tar is not whole.*mode=repair"):
        shard(config)


@pytest.mark.parametrize("name", ["manifest.json", "blocks.npy", "rejects.jsonl.gz"])
def test_what_lies_beside_the_shards_is_mended(name, config):
    before = (_root(config) / name).read_bytes()
    (_root(config) / name).unlink()
    found, _ = repair(config)
    assert [problem.file for problem in found] == [name]
    assert (_root(config) / name).read_bytes() == before
    assert verify(config) == []


def test_repair_builds_only_what_is_broken_and_the_same(config):
    root = _root(config)
    before = {
        file: (sha256(file), file.stat().st_mtime_ns) for file in sorted((root / "shards").glob("*.tar"))
    }
    _shard(config, 1).unlink()
    _shard(config, 3).write_bytes(b"<html>")
    (root / "shards" / "s000099.tar").write_bytes(b"a stranger")
    manifest = read_json(root / "manifest.json")
    found, after = repair(config)
    assert [problem.file for problem in found] == [f"shards/s0000{n}.tar" for n in ("01", "03", "99")]
    assert after == manifest
    for file, (digest, changed) in before.items():
        assert sha256(file) == digest
        assert (file.stat().st_mtime_ns == changed) == (file.name in ("s000000.tar", "s000002.tar"))
    assert verify(config) == []
    assert repair(config)[0] == []


def test_repair_with_another_input_is_refused(config, tmp_path):
    (tmp_path / "other.smi").write_text("CCO\nCCN\n")
    _shard(config).unlink()
    config.input = str(tmp_path / "other.smi")
    with pytest.raises(UserError, match="sharded with another configuration"):
        repair(config)


def test_orphans_of_a_killed_run_are_told(config):
    (_root(config) / "shards" / ".tmp-123-s000001.tar").write_bytes(b"half")
    (problem,) = verify(config)
    assert "left by a run that was killed" in problem.what
