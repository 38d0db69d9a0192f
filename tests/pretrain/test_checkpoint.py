"""A checkpoint is complete or absent, damage is found wherever it is, and nothing in it is ever executed."""

import json
import pickle
import random
import shutil
from pathlib import Path

import pytest
import torch

from pretrain import checkpoint
from pretrain.checkpoint.publish import outdated
from pretrain.checkpoint.tensors import Digest, Missing, Slices, write_tensors
from pretrain.checkpoint.verify import make_manifest, read_manifest
from sharding.errors import UserError
from sharding.files import sha256
from tests.distributed import run_ranks
from tests.pretrain import checkpoint_ranks as ranks


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of checkpoints that two ranks wrote, and what the ranks were told."""
    folder = tmp_path_factory.mktemp("saved")
    return folder, run_ranks(ranks.saves, 2, folder, str(folder))


@pytest.fixture
def checkpoints(saved, tmp_path):
    """A copy of steps 4, 6 and 7, to be damaged."""
    return Path(shutil.copytree(saved[0] / "kept", tmp_path / "checkpoints"))


def test_the_newest_and_the_asked_for_are_kept(saved):
    for told in saved[1]:
        assert told["kept"] == ["step-4", "step-6", "step-7"]
    assert sorted(file.name for file in (saved[0] / "kept" / "step-7").iterdir()) == [
        "MANIFEST.json",
        "rank-0.safetensors",
        "rank-1.safetensors",
        "state.json",
    ]
    told = json.loads((saved[0] / "kept" / "step-7" / "state.json").read_text())
    assert told["state"] == {"step": 7}
    assert ranks.values(saved[0] / "kept" / "step-7") == {7.0}


def test_which_checkpoints_go():
    assert outdated([1, 2, 3, 4], 4, keep=2, keep_every=0) == [1, 2]
    assert outdated([100, 200, 300, 400], 400, keep=1, keep_every=200) == [100, 300]
    assert outdated([2], 2, keep=1, keep_every=0) == []
    # 6 was damaged, or step 5 would not be saved after it
    assert outdated([2, 4, 5, 6], 5, keep=1, keep_every=0) == [2, 4, 6]


@pytest.mark.parametrize("background", [False, True])
def test_a_rank_that_cannot_write_ends_all_of_them(saved, background):
    folder, told = saved
    messages = {found[f"full-{background}"] for found in told}
    (message,) = messages
    assert message.startswith("SharedMistake: the checkpoint of step 2 is not written: rank 1: ")
    assert "tmp-2/rank-1.safetensors: File too large." in message
    assert message.count("rank ") == 1
    for found in told:
        assert found[f"full-{background} leaves"] == ["step-1"]
    assert checkpoint.newest(folder / f"full-{background}") == 1


def test_a_background_save_is_of_its_moment(saved):
    folder, told = saved
    assert [found["behind"] for found in told] == [5, 5]
    assert all(found["behind leaves"] == ["step-5", "step-6"] for found in told)
    assert ranks.values(folder / "behind" / "step-5") == {5.0}


def test_folders_that_are_not_shared_are_said(saved):
    for found in saved[1]:
        assert "rank 1: " in found["not shared"]
        assert "that all machines share" in found["not shared"]
    assert not list(saved[0].glob("own-*/step-*"))


def test_loading_is_all_or_none(checkpoints, tmp_path):
    """Two ranks, ZeRO-3, read what two ranks of ZeRO-1 wrote; each finding is the same on both."""
    folders = {"whole": checkpoints}
    for name in ("one rank's file", "all", "none"):
        folders[name] = shutil.copytree(checkpoints, tmp_path / name)
    flip(folders["one rank's file"] / "step-7" / "rank-1.safetensors", 12345)
    for step in (4, 6, 7):
        (folders["all"] / f"step-{step}" / "state.json").write_text("{}")
        shutil.rmtree(folders["none"] / f"step-{step}")
    shutil.copytree(checkpoints, tmp_path / "rank-0")
    (tmp_path / "rank-1").mkdir()
    told = run_ranks(
        ranks.loads,
        2,
        tmp_path,
        {name: str(folder) for name, folder in folders.items()}
        | {"not shared": str(tmp_path / "rank-{rank}")},
    )
    found, other = told
    (warning,) = found["one rank's file, said"].splitlines()
    assert "step-7 is damaged (rank-1.safetensors differs from its SHA-256); trying step 6" in warning
    assert {name: what for name, what in found.items() if "said" not in name} == {
        name: what for name, what in other.items() if "said" not in name
    }
    assert found["whole"] == (7, {"step": 7}, "step-7")
    assert found["one rank's file"] == (6, {"step": 6}, "step-6")
    for step in (4, 6, 7):
        assert f"step {step}: state.json has 2 bytes" in found["all"]
    assert found["none"] == "UserError: none"
    assert "rank 1: " in found["not shared"]
    assert "other shards (0123456789ab, now fedcba987654)" in found["other shards"]
    assert "another model: weight has shape [5, 30], here [5, 31]" in found["other model"]


def test_every_torn_write_is_found(checkpoints, capsys):
    """Any file shorter, longer or gone, and any one bit of the checkpoint."""
    step = checkpoints / "step-7"
    draw = random.Random(5)
    for file in sorted(step.iterdir()):
        content = file.read_bytes()
        for torn in (b"", content[:-1], content[: len(content) // 2], content + b"\0"):
            file.write_bytes(torn)
            assert file.name in (checkpoint.damage(step) or "")
        for _ in range(50):
            file.write_bytes(content)
            flip(file, draw.randrange(8 * len(content)))
            assert checkpoint.damage(step)
        file.unlink()
        assert file.name in (checkpoint.damage(step) or "")
        assert checkpoint.newest(checkpoints) == 6
        file.write_bytes(content)
    assert checkpoint.damage(step) is None
    assert (
        "step-7 is damaged (MANIFEST.json: No such file or directory); trying step 6"
        in capsys.readouterr().err
    )


def test_no_whole_checkpoint_is_no_reason_to_begin_anew(checkpoints):
    for step in (4, 6, 7):
        (checkpoints / f"step-{step}" / "rank-0.safetensors").unlink()
    with pytest.raises(UserError, match=r"step 7: rank-0.*step 6: rank-0.*step 4: rank-0"):
        checkpoint.newest(checkpoints)
    with pytest.raises(UserError, match=r"damaged: rank-0\.safetensors"):
        checkpoint.weights(checkpoints / "step-7")


class Canary:
    """A pickle that leaves a file where it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


def test_nothing_is_executed(checkpoints, tmp_path):
    """Pickles under the names that DeepSpeed would load lie untouched; as tensors they are damage."""
    canary, step = tmp_path / "canary", checkpoints / "step-7"
    poison = pickle.dumps(Canary(canary))
    for name in (
        "mp_rank_00_model_states.pt",
        "zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "latest",
        "x.pkl",
    ):
        (step / name).write_bytes(poison)
    assert set(checkpoint.weights(step)) == {"weight", "bias"}
    # an attacker who can make a manifest as well
    (step / "rank-1.safetensors").write_bytes(poison)
    manifest = read_manifest(step)
    digests = {name: digest_of(step / name) for name in manifest["files"]}
    about = {name: manifest[name] for name in ("world", "zero_stage", "shards")}
    (step / "MANIFEST.json").write_text(json.dumps(make_manifest(7, about, digests)))
    assert checkpoint.damage(step) is None
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.weights(step)
    assert not canary.exists()
    pickle.loads(poison)
    assert canary.exists()


@pytest.mark.parametrize("name", ["../../thesis.txt", "/etc/passwd", "rank-2.safetensors", "..\\x"])
def test_a_manifest_cannot_name_other_files(name, checkpoints):
    step = checkpoints / "step-7"
    manifest = read_manifest(step)
    digests = {one: digest_of(step / one) for one in manifest["files"]}
    about = {one: manifest[one] for one in ("world", "zero_stage", "shards")}
    digests[name] = digests.pop("rank-1.safetensors")
    (step / "MANIFEST.json").write_text(json.dumps(make_manifest(7, about, digests)))
    assert checkpoint.damage(step) == "MANIFEST.json is not that of this checkpoint"


def test_slices_are_put_together_from_any_cut(tmp_path):
    whole = torch.arange(100, dtype=torch.float32)
    write_tensors(tmp_path / "a", {"weight/x@0": whole[:30], "weight/x@70": whole[70:]})
    write_tensors(tmp_path / "b", {"weight/x@30": whole[30:70], "weight/y@10": whole[:5]})
    with Slices([tmp_path / "b", tmp_path / "a"]) as slices:
        for start, numel in ((0, 100), (29, 2), (30, 40), (99, 1), (50, 0), (0, 71)):
            assert torch.equal(slices.read("weight", "x", start, numel), whole[start : start + numel])
        for name, start, numel in (("x", 99, 2), ("y", 0, 12), ("z", 0, 1)):
            with pytest.raises(Missing, match=f"weight of {name} lacks elements"):
                slices.read("weight", name, start, numel)


def test_two_ranks_are_told_what_they_cannot_do(shards_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for told in run_ranks(ranks.mistakes, 2, tmp_path, str(shards_folder), str(tmp_path / "empty")):
        assert "train.batch=15 molecules cannot be shared equally by 2 ranks" in told["batch"]
        assert "1 lanes cannot be shared by 2 ranks" in told["lanes"]
        assert "manifest" in told["shards"]


def flip(file: Path, bit: int) -> None:
    """One bit of a file is the other."""
    content = bytearray(file.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    file.write_bytes(content)


def digest_of(file: Path) -> Digest:
    """What a manifest says of a file."""
    return Digest(file.stat().st_size, sha256(file))
