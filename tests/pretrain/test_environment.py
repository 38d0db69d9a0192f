"""The reproducibility record: what it knows, and that no secret gets into it."""

import subprocess

import pytest

from pretrain.config import PretrainConfig
from pretrain.environment import LARGEST_PATCH, environment, uncommitted, without_home, write_environment
from pretrain.redact import MASK
from sharding.files import read_json

CANARY = "canary-4f1d9b27"


def git(folder, *words):
    """As somebody, whatever this machine's settings are."""
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def source(tmp_path):
    """A file of a repository with one commit."""
    folder = tmp_path / "source"
    (folder / "pretrain").mkdir(parents=True)
    file = folder / "pretrain" / "code.py"
    file.write_text("first\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "first")
    return file


def test_changes_beside_the_commit(source, monkeypatch):
    monkeypatch.setenv("SERVICE_TOKEN", CANARY)
    assert uncommitted(source) is None
    source.write_text(f"first\nkey = '{CANARY}'\n")
    (source.parents[1] / "notes.txt").write_text("new")
    patch = uncommitted(source)
    assert patch.startswith("# in no commit: notes.txt\n")
    assert f"+key = '{MASK}'" in patch
    assert "--- a/pretrain/code.py" in patch
    for number in range(300):
        (source.parent / f"many-{number}").touch()
    patch = uncommitted(source)
    assert patch.count("# in no commit: ") == 201
    assert "# in no commit: and 101 more\n" in patch


def test_a_large_patch_is_cut_after_it_is_redacted(source, monkeypatch):
    """The secret lies across the cut: half of it would stay if the cut came first."""
    monkeypatch.setenv("SERVICE_TOKEN", CANARY * 100)
    source.write_text("x" * (LARGEST_PATCH - 500) + CANARY * 100 + "y" * LARGEST_PATCH)
    patch = uncommitted(source)
    note, rest = patch.split("\n", 1)
    assert note.startswith("# cut: the first 1,048,576 of 2,0")
    assert len(rest) == LARGEST_PATCH
    assert "canary" not in patch


def test_an_installed_copy_is_not_of_the_repository_that_it_lies_in(source, tmp_path):
    """As in a virtual environment within somebody's project; and where there is no repository at all."""
    (source.parent / "installed.py").write_text("")
    assert uncommitted(source.parent / "installed.py") is None
    (tmp_path / "alone.py").write_text("")
    assert uncommitted(tmp_path / "alone.py") is None


def test_what_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/pretrain.py", "run=here"])
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "manifest.json").write_text("{}")
    config = PretrainConfig(data=str(tmp_path / "shards"), run=str(tmp_path / "run"))
    found = environment(config)
    assert found["packages"]["torch"]
    assert found["packages"]["deepspeed"]
    assert found["precision"] in ("float32", "bfloat16")
    assert found["command"] == ["pretrain.py", "run=here"]
    assert found["manifest_sha256"].startswith("44136fa355b3678a")
    assert found["cores"] >= 1
    assert None not in found.values()

    about = {"world": 2, "zero_stage": 1}
    for step in (0, 4, 6, 4):  # killed, resumed, resumed, and resumed from the one before
        write_environment(tmp_path / "run", config, about, step)
    record = read_json(tmp_path / "run" / "environment.json")
    assert record["world"] == 2
    assert [start["step"] for start in record["starts"]] == [0, 4, 4]
    write_environment(tmp_path / "run", config, about, 0)
    assert len(read_json(tmp_path / "run" / "environment.json")["starts"]) == 1


def test_the_home_folder_names_nobody(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert without_home({"a": ["data=/home/somebody/x", 3]}) == {"a": ["data=~/x", 3]}
    monkeypatch.setenv("HOME", "/")
    assert without_home("data=/x") == "data=/x"
