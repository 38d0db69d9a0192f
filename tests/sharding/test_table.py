"""The block table: what was written is read, and another table or a shard elsewhere is refused."""

import shutil

import numpy as np
import pytest

from sharding.errors import UserError
from sharding.files import read_json, sha256, write_json
from sharding.read import Shards
from sharding.table import ENTRY, TABLE, BlockRef, BlockTable, write_table


@pytest.fixture
def copy(shards_folder, tmp_path):
    return shutil.copytree(shards_folder, tmp_path / "copy")


@pytest.mark.parametrize("name", ["pipe:touch canary", "../shards.tar", "/etc/passwd", "http://a/b.tar", ""])
def test_a_shard_outside_the_folder_is_refused(copy, name):
    manifest = read_json(copy / "manifest.json")
    manifest["shards"][0]["file"] = name
    write_json(copy / "manifest.json", manifest)
    with pytest.raises(UserError, match="no file of this folder"):
        Shards(copy)


@pytest.mark.parametrize("content", [b"<html>503</html>", b"", None])
def test_another_block_table_is_refused(copy, content):
    (copy / TABLE).unlink()
    if content is not None:
        (copy / TABLE).write_bytes(content)
    with pytest.raises(UserError, match=f"block table .*{TABLE}"):
        Shards(copy)


def test_a_block_table_of_another_kind_is_refused(copy):
    """Its hash is the manifest's, its content is not a table of these shards."""
    manifest = read_json(copy / "manifest.json")
    shards = len(manifest["shards"])
    for table in (np.zeros(3, ENTRY)["offset"], np.array([(shards, 0, 1, 1, 0)], ENTRY), np.array([{}])):
        np.save(copy / TABLE, table, allow_pickle=True)
        manifest["blocks"]["sha256"] = sha256(copy / TABLE)
        write_json(copy / "manifest.json", manifest)
        with pytest.raises(UserError, match="block table"):
            Shards(copy)


def test_the_block_table_is_what_was_written(tmp_path):
    entries = [
        {"offset": 1 << 40, "bytes": 9, "rows": 4, "crc32": 0xFFFFFFFF},
        {"offset": 2, "bytes": 1, "rows": 3, "crc32": 0},
    ]
    said = write_table(tmp_path, iter([entries, [], entries[:1]]))
    assert said == {"file": TABLE, "sha256": sha256(tmp_path / TABLE), "count": 3}
    manifest = {"shards": [{"file": f"shards/{name}.tar"} for name in "abc"], "blocks": said}
    table = BlockTable.load(tmp_path, manifest)
    assert list(table) == [
        BlockRef("shards/a.tar", 1 << 40, 9, 4, 0xFFFFFFFF),
        BlockRef("shards/a.tar", 2, 1, 3, 0),
        BlockRef("shards/c.tar", 1 << 40, 9, 4, 0xFFFFFFFF),
    ]
    assert table[-1] == table[1:][1] == list(table)[2]
    assert (len(table[1:]), table[:2].rows.tolist()) == (2, [4, 3])
    with pytest.raises(IndexError):
        table[3]
