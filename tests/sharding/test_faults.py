"""Drivers, workers and nodes are killed at random moments; the shards are those of a run that nobody disturbed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from sharding.files import read_json, sha256

ROOT = Path(__file__).resolve().parents[2]
SIZE = 2500
KILLS = 50
KILLS_A_JOB = 12
"""Then it may finish: on a slow machine none would, where each kill costs a worker's start."""


class Calm(NamedTuple):
    """A run that nobody disturbed."""

    source: Path
    content: dict[str, str]
    seconds: float
    """What it took here: moments are drawn within it, so that a slow machine makes progress too."""


@pytest.fixture(scope="module")
def calm(zinc, tmp_path_factory):
    """Input with duplicates and rejects, and what an undisturbed run makes of it."""
    folder = tmp_path_factory.mktemp("faults")
    rows = [*zinc[:SIZE], "C1CC", *zinc[:20], "", "[Na+].[Cl-] salt", "not a molecule"]
    (folder / "in.smi").write_text("\n".join(rows) + "\n")
    assert _job(folder / "in.smi", folder / "calm").wait() == 0  # in a new checkout this one compiles
    begun = time.monotonic()
    assert _job(folder / "in.smi", folder / "again").wait() == 0
    return Calm(folder / "in.smi", _content(folder / "calm"), time.monotonic() - begun)


def _job(source, output, **options):
    """The doorway in a process of its own, with its children in a session of their own."""
    given = {"executor": "processes", "workers": 2, "attempts": 99} | options
    command = [sys.executable, str(ROOT / "launch" / "shard.py"), f"input={source}", f"output={output}"]
    with Path(f"{output}.log").open("ab") as log:
        return subprocess.Popen(
            [*command, *(f"{name}={value}" for name, value in given.items())],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )


def _content(output):
    """Every file with its hash, but for the plan (which remembers paths and clocks): an orphan would be one more."""
    files = {p.relative_to(output).as_posix(): p for p in sorted(output.rglob("*")) if p.is_file()}
    return {name: sha256(path) for name, path in files.items() if name != "plan.json"}


def _balances(output):
    manifest = read_json(output / "manifest.json")
    assert manifest["n_in"] == SIZE + 23
    assert manifest["n_duplicate"] == 20
    accounted = manifest["n_ok"] + manifest["n_duplicate"] + sum(manifest["n_rejected"].values())
    assert manifest["n_in"] == accounted


def _ends_well(job, output, calm):
    assert job.wait() == 0, Path(f"{output}.log").read_text()
    assert _content(output) == calm.content
    _balances(output)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_driver_killed_at_fifty_moments(calm, tmp_path):
    """Each run gets a little further; from time to time everything starts again in a new folder."""
    moments = random.Random(0)
    kills = finished = 0
    while kills < KILLS:
        output = tmp_path / f"out{finished}"
        job = _job(calm.source, output)
        try:
            job.wait(timeout=moments.uniform(0.02, 0.8) * calm.seconds)
        except subprocess.TimeoutExpired:
            job.kill()
            job.wait()
            kills += 1
            continue
        _ends_well(job, output, calm)
        finished += 1
    _ends_well(_job(calm.source, output), output, calm)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_workers_and_their_children_killed_at_fifty_moments(calm, tmp_path):
    moments = random.Random(1)
    kills = finished = 0
    while kills < KILLS:
        output = tmp_path / f"out{finished}"
        job = _job(calm.source, output)
        spared = kills + KILLS_A_JOB
        while job.poll() is None and kills < spared:
            time.sleep(moments.uniform(0.02, 0.1) * calm.seconds)
            try:
                below = psutil.Process(job.pid).children(recursive=True)
                victim = moments.choice([one for one in below if "sharding.child" in one.cmdline()])
                victim.send_signal(signal.SIGKILL)
                kills += 1
            except (psutil.Error, IndexError):  # not started yet, or just gone
                continue
        _ends_well(job, output, calm)
        finished += 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ray_workers_nodes_and_drivers_killed_at_fifty_moments(calm, tmp_path):
    """A head without CPUs and two nodes. A node that was killed is replaced, a driver started again."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 1024**2}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    nodes = [cluster.add_node(num_cpus=1, **small) for _ in range(2)]
    moments = random.Random(2)
    kills, finished = Counter(), 0
    try:
        os.environ["RAY_ADDRESS"] = cluster.address
        while kills.total() < KILLS:
            output = tmp_path / f"out{finished}"
            job = _job(calm.source, output, executor="ray", workers=0)
            spared = kills.total() + KILLS_A_JOB
            while job.poll() is None and kills.total() < spared:
                time.sleep(moments.uniform(0.02, 0.1) * calm.seconds)
                workers = [one for one in psutil.process_iter(["cmdline"]) if _is_at_work(one)]
                if not workers:
                    continue
                what = moments.choices(["worker", "node", "driver"], [7, 2, 1])[0]
                kills[what] += 1
                if what == "worker":
                    _kill(moments.choice(workers))
                elif what == "node":
                    cluster.remove_node(nodes.pop(moments.randrange(2)), allow_graceful=False)
                    nodes.append(cluster.add_node(num_cpus=1, **small))
                else:
                    job.kill()
                    job.wait()
                    job = _job(calm.source, output, executor="ray", workers=0)
            _ends_well(job, output, calm)
            finished += 1
        assert min(kills[what] for what in ("worker", "node", "driver")) >= 3, kills
    finally:
        del os.environ["RAY_ADDRESS"]
        cluster.shutdown()


@pytest.mark.slow
def test_a_cluster_without_nodes_is_said_and_waited_for(calm, tmp_path, monkeypatch):
    """Said after a minute; when a node comes, the job goes on."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 1024**2}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    try:
        job = _job(calm.source, tmp_path / "out", executor="ray", workers=0)
        while "no node of the Ray cluster has a CPU" not in (tmp_path / "out.log").read_text():
            assert job.poll() is None
            time.sleep(1.0)
        cluster.add_node(num_cpus=2, **small)
        _ends_well(job, tmp_path / "out", calm)
    finally:
        cluster.shutdown()


def _kill(process):
    with suppress(psutil.Error):  # just gone
        process.send_signal(signal.SIGKILL)


def _is_at_work(process):
    command = process.info["cmdline"] or [""]
    return command[0].startswith(("ray::partition", "ray::featurize"))


@pytest.mark.slow
def test_a_killed_driver_leaves_no_worker_behind(calm, tmp_path):
    job = _job(calm.source, tmp_path / "out")
    while not (children := psutil.Process(job.pid).children(recursive=True)):
        time.sleep(0.02)
    time.sleep(1.0)
    children = psutil.Process(job.pid).children(recursive=True)
    job.kill()
    job.wait()
    psutil.wait_procs(children, timeout=20)
    # in a container whose first process buries nobody, the dead stay listed
    assert not [one for one in children if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    _ends_well(_job(calm.source, tmp_path / "out"), tmp_path / "out", calm)


FULL_DISK = """
set -e
mount -t tmpfs -o size=6m tmpfs {disk}
head -c {ballast} /dev/zero > {disk}/ballast
set +e
{command} > {log} 2>&1
echo $? > {log}.first
rm {disk}/ballast
{command} >> {log} 2>&1
echo $? > {log}.second
cp -r {disk}/out {kept}
"""


@pytest.mark.slow
@pytest.mark.parametrize("free_kb", [20, 150, 500])
def test_a_full_disk_is_one_line_and_nothing_is_lost(calm, tmp_path, free_kb):
    """A real one: a small file system in a namespace of its own. With room made, the same command goes on."""
    disk, log, kept = tmp_path / "disk", tmp_path / "log", tmp_path / "kept"
    disk.mkdir()
    command = f"{sys.executable} {ROOT / 'launch' / 'shard.py'} input={calm.source} output={disk}/out"
    ballast = 6 * 1024**2 - free_kb * 1024
    script = FULL_DISK.format(disk=disk, log=log, kept=kept, command=command, ballast=ballast)
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if not Path(f"{log}.first").exists():
        pytest.skip(f"no namespace with a small file system can be made here: {done.stderr.strip()}")
    assert Path(f"{log}.first").read_text().strip() == "2"
    said = [line for line in log.read_text().splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "the disk is full" in said[0]
    assert Path(f"{log}.second").read_text().strip() == "0"
    assert _content(kept) == calm.content
    _balances(kept)
