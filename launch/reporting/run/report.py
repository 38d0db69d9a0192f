"""A run's folder -> report.html, and its pictures beside it."""

from pathlib import Path

from launch.reporting.run.findings import read_run
from launch.reporting.run.page import write_page
from launch.reporting.run.pictures import draw
from sharding.errors import UserError
from sharding.files import write_bytes


def report_run(run: Path, output: Path) -> Path:
    """Read, draw, write. Raises `UserError` for a folder that is no run, or has no metrics yet."""
    findings = read_run(run)
    if output.exists() and not output.is_dir():
        raise UserError(f"output={output} is a file. Give a folder.")
    drawn = draw(findings)
    for picture in drawn:
        write_bytes(output / "pictures" / f"{picture.name}.png", picture.png)
    page = output / "report.html"
    write_bytes(page, write_page(findings, {picture.name: picture for picture in drawn}, output).encode())
    return page
