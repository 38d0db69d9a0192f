"""A disk that is full in the middle of a run: a real one, a small tmpfs in a mount namespace of its own."""

import shlex
import shutil
import subprocess

import pytest

from benchmarks.reliability.launches import Launch
from tests.reliability.conftest import LIMIT_S, STEPS

pytestmark = pytest.mark.slow
ALONE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
SCRIPT = """
mount -t tmpfs -o size={size} tmpfs {disk} && head -c {filler} /dev/zero > {disk}/filler || exit 99
{command}
code=$?
ls {disk}/run/checkpoints > {kept}
rm {disk}/filler
{command} || exit 98
cp -r {disk}/run {run}
exit $code
"""


def may_mount(folder):
    """Whether this user may mount a disk that nobody else sees."""
    if not shutil.which("unshare"):
        return False
    mount = f"mount -t tmpfs -o size=64k tmpfs {shlex.quote(str(folder))}"
    return subprocess.run([*ALONE, mount], capture_output=True, check=False).returncode == 0


def size(folder):
    """Bytes of all files, as a tmpfs counts them: in pages."""
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in folder.rglob("*") if file.is_file())


def test_a_disk_that_fills_while_it_trains(doorway, whole, tmp_path):
    """Room for two and a half checkpoints: one line, exit code 2, two are kept. With room: as if never full."""
    if not may_mount(tmp_path):
        pytest.skip("this user may not mount a tmpfs in a namespace of its own")
    checkpoints = doorway.folder / whole / "checkpoints"
    one = size(checkpoints / f"step-{STEPS}")
    room = size(doorway.folder / whole) - size(checkpoints) + 5 * one // 2
    total = room + 3 * one + (1 << 20)
    values = {"size": total, "filler": total - room, "disk": tmp_path, "run": doorway.folder / "full"}
    kept = doorway.folder / "kept"
    command = shlex.join(doorway.command(tmp_path / "run"))
    launch = Launch(
        [*ALONE, SCRIPT.format(**values, kept=kept, command=command)], doorway.folder / "full.log"
    )
    assert launch.wait(LIMIT_S) == 2, launch.output
    assert "the checkpoint of step 6 is not written: rank 0: " in launch.output
    assert "No space left on device" in launch.output
    assert "Traceback" not in launch.output
    assert [name for name in kept.read_text().split() if name.startswith("step-")] == ["step-2", "step-4"]
    doorway.assert_same("full", whole)
