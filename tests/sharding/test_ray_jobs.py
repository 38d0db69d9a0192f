"""`ray job submit` against a real head with token authentication: the shards are those of this machine alone."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from sharding.config import ShardConfig
from sharding.files import read_json
from sharding.job import shard

ROOT = Path(__file__).resolve().parents[2]
RAY = str(Path(sys.executable).with_name("ray"))


def _free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return [str(port) for port in ports]


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head that answers only to those with its token: (dashboard's address, environment with the token)."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(ROOT),
    }
    port, dashboard, client = _free_ports(3)
    with tempfile.TemporaryDirectory(
        prefix="ray", ignore_cleanup_errors=True
    ) as folder:  # sockets' paths are short
        options = ["--dashboard-port", dashboard, "--ray-client-server-port", client, "--temp-dir", folder]
        process = subprocess.Popen(
            [RAY, "start", "--head", "--block", "--port", port, "--num-cpus", "2",
             "--object-store-memory", "100000000", *options],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            address = f"http://127.0.0.1:{dashboard}"
            _wait_for(address, process)
            yield address, environment
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def _wait_for(address, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the head ended"
        try:
            urllib.request.urlopen(f"{address}/api/version", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return  # it answers, if only to say no
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError("the head's dashboard never answered")


def _submit(address, environment, *arguments):
    command = [
        RAY,
        "job",
        "submit",
        "--address",
        address,
        "--",
        sys.executable,
        str(ROOT / "launch" / "shard.py"),
    ]
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_a_submitted_job_writes_the_same_shards(head, zinc, tmp_path):
    address, environment = head
    (tmp_path / "in.smi").write_text("\n".join(zinc[:400]) + "\n")
    done = _submit(address, environment, f"input={tmp_path}/in.smi", f"output={tmp_path}/out", "executor=ray")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "400 molecules in: 400 kept" in done.stdout
    calm = shard(ShardConfig(input=str(tmp_path / "in.smi"), output=str(tmp_path / "calm")))
    assert read_json(tmp_path / "out" / "manifest.json") == calm


@pytest.mark.slow
def test_nobody_submits_without_the_token(head, tmp_path):
    address, environment = head
    del environment["RAY_AUTH_TOKEN_PATH"]
    refused = _submit(address, environment | {"HOME": str(tmp_path)}, "--help")
    assert refused.returncode != 0
    wrong = tmp_path / "wrong"
    wrong.write_text(secrets.token_hex(32))
    wrong.chmod(0o600)
    assert _submit(address, environment | {"RAY_AUTH_TOKEN_PATH": str(wrong)}, "--help").returncode != 0
