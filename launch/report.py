"""Report: the folder of a pretraining run becomes one page with pictures of how it went.

    python launch/report.py run=runs/pretrain
    python launch/report.py run=runs/demo/pretrain output=runs/pages      beside the run, not in it

Works while the run goes on, and after it was killed: the page says how far it came, and what is not there. Leaves
report.html, which needs no other file, and its pictures/*.png. Nothing of the run is changed.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

if not __package__:  # run as a file: Python put launch/ first on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from launch.entry import doorway
from launch.reporting.config import ReportConfig
from sharding.errors import UserError


def run(config: ReportConfig) -> None:
    """Read, draw, write, and say where the page is."""
    if find_spec("matplotlib") is None:
        raise UserError("the report needs matplotlib. Install it: pip install 'molparallax[report]'")
    from launch.reporting.run.report import report_run

    folder = Path(config.run)
    print(f"report {report_run(folder, Path(config.output) if config.output else folder)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The doorway's exit code."""
    return doorway("report", ReportConfig, run, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
