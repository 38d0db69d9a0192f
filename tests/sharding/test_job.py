"""The sharding job: exact accounts, the same bytes from every executor, and a second run that finishes the first."""

import errno
import gzip
import json
import tarfile

import pytest
import webdataset

from sharding.config import Executor, OnChange, ShardConfig
from sharding.errors import UserError
from sharding.files import read_json, sha256
from sharding.job import shard, summary
from sharding.manifest import Unbalanced
from sharding.molecule import canonicalise
from sharding.task import run_task

LIMITS = {"max_atoms": 255, "max_characters": 2000}


@pytest.fixture
def source(zinc, tmp_path):
    rows = [*zinc[:120], "garbage!", zinc[3], "C1CC", *zinc[120:160]]
    file = tmp_path / "in.smi"
    file.write_text("\n".join(rows) + "\n")
    return file


def _digests(folder):
    return {file.name: sha256(file) for file in sorted((folder / "shards").glob("*.tar"))}


def test_every_row_is_accounted_for(source, tmp_path, zinc):
    manifest = shard(ShardConfig(input=str(source), output=str(tmp_path / "out")))
    assert manifest["n_in"] == 163
    assert (manifest["n_ok"], manifest["n_duplicate"]) == (160, 1)
    assert manifest["n_rejected"] == {"syntax": 2}
    packed = (tmp_path / "out" / "rejects.jsonl.gz").read_bytes()
    rejects = [json.loads(line) for line in gzip.decompress(packed).splitlines()]
    assert [(r["line"], r["smiles"], r["reason"]) for r in rejects] == [
        (121, "garbage!", "syntax"),
        (123, "C1CC", "syntax"),
    ]
    assert {r["file"] for r in rejects} == {str(source)}
    for entry in manifest["shards"]:
        assert sha256(tmp_path / "out" / entry["file"]) == entry["sha256"]
    assert "160 kept, 1 duplicates, 2 rejected" in summary(manifest)
    assert not (tmp_path / "out" / "work").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
def test_plain_webdataset_opens_a_shard_with_every_molecule_once(source, tmp_path, zinc):
    shard(ShardConfig(input=str(source), output=str(tmp_path / "out")))
    found = []
    for file in sorted((tmp_path / "out" / "shards").glob("*.tar")):
        for sample in webdataset.WebDataset(str(file), shardshuffle=False).decode():
            smiles, text = sample["smiles.txt.gz"].split(), sample["text.txt.gz"].splitlines()
            assert len(smiles) == len(text) == len(sample["graph.npz"]["n_atoms"])
            assert "." not in sample["__key__"]
            found += smiles
        with tarfile.open(file) as tar:
            assert tar.getnames()[0] == "__meta__/schema.json"
    assert sorted(found) == sorted(canonicalise(smiles, **LIMITS) for smiles in zinc[:160])


def test_ray_writes_the_same_bytes_as_this_process(source, tmp_path):
    """As processes do: tests/sharding/test_options.py, on a pile of files."""
    shard(ShardConfig(input=str(source), output=str(tmp_path / "a")))
    shard(ShardConfig(input=str(source), output=str(tmp_path / "b"), executor=Executor.ray, workers=2))
    assert _digests(tmp_path / "a") == _digests(tmp_path / "b")
    assert read_json(tmp_path / "a" / "manifest.json") == read_json(tmp_path / "b" / "manifest.json")


def test_the_order_is_a_shuffle_that_the_seed_decides(source, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        shard(ShardConfig(input=str(source), output=str(tmp_path / name), seed=seed))
    assert _digests(tmp_path / "a") == _digests(tmp_path / "b") != _digests(tmp_path / "c")


def test_a_second_run_finishes_what_the_first_left(source, tmp_path, monkeypatch):
    """The disk is full at every other task; the run after it goes on, and the bytes are those of a calm run."""
    calm = tmp_path / "calm"
    shard(ShardConfig(input=str(source), output=str(calm)))
    config = ShardConfig(input=str(source), output=str(tmp_path / "out"))
    done = []

    def full_on_second(task):
        if len(done) % 2:
            done.append(None)
            raise OSError(errno.ENOSPC, "No space left on device", "shards/s000001.tar")
        done.append(task)
        return run_task(task)

    with monkeypatch.context() as patch:
        patch.setattr("sharding.job.run_task", full_on_second)
        for _ in range(20):
            try:
                shard(config)
                break
            except UserError as error:
                assert "the disk is full" in str(error)
    assert len([task for task in done if task]) == 8  # 4 partitions, 4 shards: none done twice
    assert _digests(tmp_path / "out") == _digests(calm)
    assert not list((tmp_path / "out").rglob(".tmp-*"))


def test_a_finished_job_is_not_done_again(source, tmp_path, monkeypatch):
    config = ShardConfig(input=str(source), output=str(tmp_path / "out"))
    first = shard(config)
    monkeypatch.setattr("sharding.job.run_task", None)  # would raise
    assert shard(config) == first


def test_another_configuration_is_refused_with_the_difference(source, tmp_path):
    shard(ShardConfig(input=str(source), output=str(tmp_path / "out")))
    before = _digests(tmp_path / "out")
    other = ShardConfig(input=str(source), output=str(tmp_path / "out"), seed=5)
    with pytest.raises(UserError, match=r"seed: 0, now 5.*on_change=overwrite"):
        shard(other)
    assert _digests(tmp_path / "out") == before
    other.on_change = OnChange.overwrite
    shard(other)
    assert _digests(tmp_path / "out") != before


def test_a_lost_molecule_fails_the_job(source, tmp_path, monkeypatch):
    """The account is checked, not assumed: a task that miscounts is a fault of the program."""

    def miscounts(task):
        stats = run_task(task)
        if task.kind == "featurize":
            stats["n_ok"] -= 1
            task.stats.write_text(json.dumps(stats))
        return stats

    monkeypatch.setattr("sharding.job.run_task", miscounts)
    with pytest.raises(Unbalanced):
        shard(ShardConfig(input=str(source), output=str(tmp_path / "out")))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_tables_and_compression(zinc, tmp_path):
    """The same molecules from .csv.gz, .tsv and .smi with names are the same shards' content."""
    kept = []
    for name, text in (
        ("a.csv.gz", "id,smiles,note\n" + "".join(f'{i},"{s}","a, b"\n' for i, s in enumerate(zinc[:80]))),
        ("b.tsv", "smiles\tid\n" + "".join(f" {s} \t{i}\n" for i, s in enumerate(zinc[:80]))),
        ("c.smi", "\n".join(f"{s} ZINC{i} x" for i, s in enumerate(zinc[:80])) + "\n\n"),
    ):
        file = tmp_path / name
        file.write_bytes(
            gzip.compress(text.encode()) if name.endswith("gz") else b"\xef\xbb\xbf" + text.encode()
        )
        manifest = shard(ShardConfig(input=str(file), output=str(tmp_path / f"{name}.out")))
        assert manifest["n_rejected"] == {}
        kept.append(manifest["n_ok"])
    assert kept == [80, 80, 80]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.smi", b"", "is empty"),
        ("blank.smi", b"\n\n \n", "holds no molecule"),
        ("bad.smi", b"hello\nworld\n", "no valid molecule: 2 x syntax"),
        (
            "t.csv",
            b"id,SMILES\n1,CC\n",
            r"column 'smiles' is not in .*Did you mean 'SMILES'\? It has: id, SMILES",
        ),
        ("t.xyz", b"CC\n", "unknown kind of file '.xyz'"),
        ("t.smi.gz", b"CC\n", "not a whole gzip file"),
    ],
)
def test_bad_input_is_one_line_of_advice(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        shard(ShardConfig(input=str(tmp_path / name), output=str(tmp_path / "out")))
    assert "\n" not in str(caught.value)


def test_a_foreign_folder_is_left_alone(source, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds something else"):
        shard(ShardConfig(input=str(source), output=str(tmp_path / "home"), on_change=OnChange.overwrite))
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"
