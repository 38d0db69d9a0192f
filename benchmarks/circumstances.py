"""What a measured number needs to mean something: command, machine, versions, commit, date.

name of the benchmark, its own lines  ->  a list in Markdown
"""

import datetime
import platform
import shlex
import subprocess
import sys
from pathlib import Path


def circumstances(benchmark: str, machine: str, *own: str) -> str:
    """The list; `machine` says how much of the processor was used, `own` what only this benchmark knows."""
    lines = [
        f"command: `python -m benchmarks.{benchmark} {shlex.join(map(_nowhere, sys.argv[1:]))}`",
        f"machine: {processor()}, {machine}",
        *own,
        f"commit: {commit()}",
        f"date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
    ]
    return "\n".join(f"* {line}" for line in lines)


def _nowhere(argument: str) -> str:
    """A file by its name: where it lies on this machine means nothing elsewhere."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def processor() -> str:
    """The processor's name, where Linux tells it."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    """Short hash of what was measured; uncommitted changes are said."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "none"
