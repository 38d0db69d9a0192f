"""The reader: every molecule once, equal steps on any number of ranks, exact positions, damage noticed."""

import errno
import io
import itertools
import pickle
import shutil
import sys
import tarfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.block import strings
from sharding.errors import UserError
from sharding.files import read_json, write_json
from sharding.read import DamagedShard, Lanes, Reader, Shards, choose_lanes, mixed
from sharding.table import ENTRY, BlockTable


def _lines(shards, plan, world, epoch, step, count):
    """Input lines of `count` global batches from a position on, read by `world` ranks."""
    readers = [Reader(shards, plan, rank=rank, world=world)(epoch, step) for rank in range(world)]
    return [sorted(np.concatenate([next(r)[2].line for r in readers]).tolist()) for _ in range(count)]


@pytest.fixture(scope="module")
def shards(shards_folder):
    return Shards(shards_folder)


def test_an_epoch_repeats_nothing_and_leaves_out_less_than_a_step_a_lane(shards):
    plan = Lanes(blocks=shards.blocks, batch=16, lanes=4, seed=3)
    seen = list(itertools.chain.from_iterable(_lines(shards, plan, 1, 0, 0, plan.steps)))
    assert len(seen) == len(set(seen)) == plan.steps * 16
    assert len(seen) >= 600 - 4 * (plan.share + max(ref.rows for ref in shards.blocks))


def test_global_batches_are_the_same_on_any_number_of_ranks(shards):
    plan = Lanes(blocks=shards.blocks, batch=16, lanes=4, seed=3)
    count = plan.steps + 5  # into the second epoch
    alone = _lines(shards, plan, 1, 0, 0, count)
    assert _lines(shards, plan, 2, 0, 0, count) == alone
    assert _lines(shards, plan, 4, 0, 0, count) == alone


def test_any_position_is_a_seek(shards):
    plan = Lanes(blocks=shards.blocks, batch=16, lanes=4, seed=3)
    count = plan.steps + 3
    alone = _lines(shards, plan, 1, 0, 0, count)
    for step in (0, 1, 7, plan.steps - 1):
        assert _lines(shards, plan, 2, 0, step, count - step) == alone[step:]


def test_epochs_differ_in_order_and_composition(shards):
    plan = Lanes(blocks=shards.blocks, batch=16, lanes=4, seed=3)
    assert _lines(shards, plan, 1, 0, 0, 5) != _lines(shards, plan, 1, 1, 0, 5)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.integers(1, 40), min_size=4, max_size=60),
    lanes=st.sampled_from([1, 2, 4]),
    share=st.integers(1, 8),
    epoch=st.integers(0, 3),
)
def test_no_lane_runs_dry_before_the_promised_steps(rows, lanes, share, epoch):
    """Whatever the blocks' sizes (primes included), each lane of each epoch holds what `steps` needs."""
    blocks = BlockTable(["s"], np.array([(0, i, 1, n, 0) for i, n in enumerate(rows)], ENTRY))
    try:
        plan = Lanes(blocks=blocks, batch=lanes * share, lanes=lanes, seed=0)
    except UserError:
        return  # too few molecules for one step, said before training
    dealt = [plan.lane(epoch, lane) for lane in range(lanes)]
    assert sorted(np.concatenate(dealt).tolist()) == list(range(len(blocks)))
    for lane in dealt:
        assert sum(blocks[position].rows for position in lane) >= plan.steps * plan.share


def test_held_out_blocks_are_never_trained_on(shards):
    training, held_out = shards.split(100)
    assert sum(ref.rows for ref in held_out) >= 100
    assert {*training} | {*held_out} == {*shards.blocks}
    lines = {line for ref in held_out for line in shards.read(ref).line.tolist()}
    plan = Lanes(blocks=training, batch=16, lanes=4, seed=0)
    assert not lines & set(itertools.chain.from_iterable(_lines(shards, plan, 1, 0, 0, plan.steps)))


def test_strings_stand_in_the_order_of_the_columns(shards):
    """SMILES, text and columns of a row are one molecule's, by its tokens."""
    for ref in (shards.blocks[0], shards.blocks[-1]):
        molecules = shards.read(ref)
        smiles = shards.tokenizers.smiles.encode(shards.smiles(ref), most=512)
        assert smiles.ids.tolist() == molecules.smiles_tokens.tolist()
        texts = shards.tokenizers.text.encode(shards.texts(ref), most=512)
        assert texts.ids.tolist() == molecules.text_tokens.tolist()


def test_a_slice_of_a_block_is_a_sample_of_it(shards):
    """Alike molecules are stored side by side; what comes first must not be alike."""
    ref = shards.blocks[0]
    stored = strings(shards.members(ref)["smiles.txt.gz"])
    assert shards.smiles(ref) != stored
    assert sorted(shards.smiles(ref)) == sorted(stored)
    assert mixed(50).tolist() == mixed(50).tolist()


@pytest.fixture
def copy(shards_folder, tmp_path):
    return shutil.copytree(shards_folder, tmp_path / "copy")


class _Payload:
    """Whoever unpickles it stops the tests."""

    def __reduce__(self):
        return (sys.exit, ("a pickle was loaded",))


def _tar(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _damages(file):
    whole = file.read_bytes()
    for cut in range(0, len(whole) - 1024, 512):  # the last KiB is tar's end mark, which holds no molecule
        yield f"cut at {cut}", whole[:cut]
    for place in range(2000, len(whole) - 12000, 997):
        yield f"bit flipped at {place}", whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]
    yield "an error page", b"<html><body>503</body></html>" * 100
    yield "a tar of pickles", _tar({"s_b0000.pkl": pickle.dumps(_Payload())})
    yield "nothing", b""


def test_every_damage_in_a_block_is_noticed(copy):
    """Truncation at every 512 bytes, flipped bits, another file: an error that names the shard, every time."""
    file = sorted((copy / "shards").glob("*.tar"))[0]
    shards = Shards(copy)
    mine = [ref for ref in shards.blocks if file.name in ref.file]
    end = max(ref.offset + ref.bytes for ref in mine)
    noticed = 0
    for what, content in _damages(file):
        if content[:end] == file.read_bytes()[:end]:
            continue
        whole = file.read_bytes()
        file.write_bytes(content)
        outcomes = []
        for ref in mine:
            try:
                shards.read(ref)
                outcomes.append(False)
            except DamagedShard as error:
                assert file.name in str(error)
                outcomes.append(True)
        file.write_bytes(whole)
        touched = [
            ref
            for ref in mine
            if content[ref.offset : ref.offset + ref.bytes] != whole[ref.offset : ref.offset + ref.bytes]
        ]
        assert sum(outcomes) == len(touched), what
        noticed += bool(touched)
    assert noticed > 50


def test_a_missing_shard_is_named(copy):
    file = sorted((copy / "shards").glob("*.tar"))[0]
    file.unlink()
    shards = Shards(copy)
    with pytest.raises(DamagedShard, match=file.name):
        shards.read(shards.blocks[0])


@pytest.mark.parametrize(
    "members",
    [
        {"s_b0000.pkl": pickle.dumps(_Payload())},
        {"s_b0000.graph.npz": b"<html>", "s_b0000.tok.npz": b"<html>"},
        {"s_b0000.graph.npz": pickle.dumps(_Payload()), "s_b0000.tok.npz": b""},
        {},
    ],
)
def test_another_tar_that_the_manifest_vouches_for_is_refused(copy, members):
    """A range with the right checksum and the wrong content: one line, and nothing is executed."""
    shards = Shards(copy)
    packed = _tar(members)
    ref = shards.blocks[0]._replace(offset=0, bytes=len(packed), crc32=zlib.crc32(packed))
    (copy / ref.file).write_bytes(packed)
    for attempt in (shards.read, shards.smiles):
        with pytest.raises(DamagedShard, match=ref.file) as caught:
            attempt(ref)
        assert "\n" not in str(caught.value)


def test_a_file_system_that_fails_for_a_while_is_asked_again(shards, monkeypatch):
    """Two failures are waited out; more are an error that names shard and block; a file that is gone is final."""
    ref, opened, waited = shards.blocks[1], Path.open, []
    failures = []

    def failing(path, *rest, **options):
        if failures:
            raise failures.pop()
        return opened(path, *rest, **options)

    monkeypatch.setattr(Path, "open", failing)
    monkeypatch.setattr(time, "sleep", waited.append)
    failures[:] = [OSError(errno.ESTALE, "Stale file handle")] * 2
    assert len(shards.read(ref)) == ref.rows
    assert len(waited) == 2
    failures[:] = [OSError(errno.EIO, "Input/output error")] * 9
    with pytest.raises(
        DamagedShard, match=rf"{ref.file} cannot be read at byte {ref.offset:,} \(Input/output"
    ):
        shards.read(ref)
    assert len(waited) == 5
    failures[:] = [FileNotFoundError(errno.ENOENT, "No such file or directory")]
    with pytest.raises(DamagedShard, match="No such file"):
        shards.read(ref)
    assert len(waited) == 5


@pytest.mark.parametrize("content", ["[]", "{}", '{"schema": 2}', "<html>"])
def test_a_manifest_of_something_else_is_refused(copy, content):
    (copy / "manifest.json").write_text(content)
    with pytest.raises(UserError):
        Shards(copy)


def test_shards_of_another_schema_are_refused(copy):
    manifest = read_json(copy / "manifest.json") | {"schema": 99}
    write_json(copy / "manifest.json", manifest)
    with pytest.raises(UserError, match=r"schema 99.*reads schema 2"):
        Shards(copy)


def test_changed_tokenizers_are_refused(copy):
    file = copy / "tokenizers" / "smiles" / "tokenizer.json"
    file.write_text(file.read_text().replace('"[nH]"', '"[nX]"'))
    with pytest.raises(UserError, match="tokenizers are not those"):
        Shards(copy)


@pytest.mark.parametrize(("batch", "lanes", "world"), [(16, 3, 1), (16, 4, 3), (4096, 4, 1)])
def test_impossible_shares_are_refused_before_training(shards, batch, lanes, world):
    with pytest.raises(UserError, match=r"train\.(batch|lanes)"):
        Reader(shards, Lanes(blocks=shards.blocks, batch=batch, lanes=lanes, seed=0), rank=0, world=world)


@pytest.mark.parametrize(
    ("blocks", "batch", "lanes"), [(80, 128, 8), (5, 128, 64), (10_000, 1024, 64), (80, 7, 1)]
)
def test_lanes_are_chosen_from_blocks_and_batch(blocks, batch, lanes):
    chosen = choose_lanes(blocks, batch)
    assert batch % chosen == 0
    assert chosen == lanes or blocks < 8
