"""What a report can be told. Light on purpose: `--help` imports this, and no torch."""

from dataclasses import dataclass

from omegaconf import MISSING


@dataclass(kw_only=True)
class ReportConfig:
    """A run's folder -> a page."""

    run: str = MISSING
    """Folder of a pretraining run, as launch/pretrain.py was told; running, finished, stopped or killed."""
    output: str = ""
    """Folder that gets report.html and pictures/; empty: the run's own."""
