"""The cache of written texts: torn lines, foreign bytes, killed writers, two at once."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sharding.text.language_model import identity
from sharding.text.language_model.cache import TextCache
from tests.sharding.language_server import (
    ROOT,
    Server,
    asked_of,
    configured,
    expected,
    good,
    segments,
    server,
    write,
)

__all__ = ["server"]  # fixtures


def test_a_torn_line_costs_that_line(server, tmp_path):
    config = configured(server)
    write(config, tmp_path)
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-30])
    assert write(config, tmp_path) == (expected(), {"from_cache": 4, "written": 1})
    assert len(segments(tmp_path)) == 2  # nobody writes behind a torn line
    assert write(config, tmp_path) == (expected(), {"from_cache": 5})


@pytest.mark.parametrize(
    "damage", [b"\x00" * 5000, b"not json\n", b"[]\n", b'{"key": 1}\n' * 3, b"x" * 200_000]
)
def test_foreign_bytes_are_ignored(server, tmp_path, damage):
    config = configured(server)
    write(config, tmp_path)
    (segment,) = segments(tmp_path)
    segment.with_name("segment-foreign.jsonl").write_bytes(damage)
    segment.with_name("segment-folder.jsonl").mkdir()
    segment.write_bytes(damage + b"\n" + segment.read_bytes())
    assert write(config, tmp_path) == (expected(), {"from_cache": 5})


def test_an_altered_line_is_not_believed(server, tmp_path):
    config = configured(server)
    write(config, tmp_path, ["CCO"])
    (segment,) = segments(tmp_path)
    segment.write_bytes(segment.read_bytes().replace(b"alcohol", b"ketones"))
    assert write(config, tmp_path, ["CCO"]) == (expected(["CCO"]), {"written": 1})


def test_another_identity_is_another_text(server, tmp_path):
    config = configured(server)
    write(config, tmp_path, ["CCO"])
    for change in ({"temperature": 0.7}, {"max_new_tokens": 100}, {"model": "other"}, {"retries": 2}):
        assert identity(replace(config, **change)) != identity(config)
        assert write(replace(config, **change), tmp_path, ["CCO"])[1] == {"written": 1}
    for same in ({"batch": 9}, {"timeout_s": 9.0}, {"api_key_variable": "OTHER"}):
        assert identity(replace(config, **same)) == identity(config)
        assert write(replace(config, **same), tmp_path, ["CCO"])[1] == {"from_cache": 1}


WRITER = """
import json, sys
from pathlib import Path
from rdkit import Chem
from sharding.config import LanguageModelConfig
from sharding.text.language_model import TextWriter
from sharding.text.language_model import endpoint
endpoint.PAUSE_S = 0.01
url, folder, *smiles = sys.argv[1:]
config = LanguageModelConfig(model="tiny-mistral", endpoint=url, batch=4, retries=1, timeout_s=5.0)
molecules = [Chem.MolFromSmiles(line) for line in smiles]
canonical = [Chem.MolToSmiles(molecule) for molecule in molecules]
print(json.dumps(TextWriter(config, Path(folder)).write(molecules, canonical, canonical)[1]))
"""


def start_writer(server: Server, folder: Path, smiles: list[str]) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, server.url, str(folder), *smiles],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_writer_leaves_what_it_had_finished(server, tmp_path):
    smiles = ["C" * n + "O" for n in range(1, 25)]

    def stuck_after_twelve(body, nth):
        if asked_of(body).count("C") > 12:
            time.sleep(4)
        return good(body)

    server.script = stuck_after_twelve
    process = start_writer(server, tmp_path, smiles)
    deadline = time.monotonic() + 30
    while sum(path.read_bytes().count(b"\n") for path in segments(tmp_path)) < 8:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    server.script = lambda body, nth: good(body)
    second = start_writer(server, tmp_path, smiles)
    counts = json.loads(second.communicate(timeout=60)[0])
    assert counts["from_cache"] >= 8
    assert counts["from_cache"] + counts["written"] == 24


def test_two_writers_at_once_share_a_folder(server, tmp_path):
    smiles = ["C" * n + "O" for n in range(1, 31)]
    both = [start_writer(server, tmp_path, part) for part in (smiles[:20], smiles[10:])]
    for process in both:
        process.communicate(timeout=60)
        assert process.returncode == 0
    third = start_writer(server, tmp_path, smiles)
    assert json.loads(third.communicate(timeout=60)[0]) == {"from_cache": 30}


def test_the_cache_keeps_the_first_entry(tmp_path):
    cache = TextCache(tmp_path)
    cache.put({"a" * 64: {"refused": "not_json"}})
    cache.put({"a" * 64: {"refused": "other"}, "b" * 64: {"fields": {"x": "é\n"}}})
    for reader in (cache, TextCache(tmp_path)):
        assert reader.get("a" * 64) == {"refused": "not_json"}
        assert reader.get("b" * 64) == {"fields": {"x": "é\n"}}
        assert reader.get("c" * 64) is None
        assert len(reader) == 2
