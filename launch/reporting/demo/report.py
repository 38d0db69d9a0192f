"""The report of a demo: findings -> pictures/*.png and one page that holds them all.

output  ->  output/report.html
"""

import time
from pathlib import Path

from launch.journal import Journal
from launch.reporting import curves
from launch.reporting.demo import pictures
from launch.reporting.demo.comparison import VARIANTS
from launch.reporting.demo.findings import Findings, answers_on_test_part, read_findings
from launch.reporting.demo.page import write_page
from launch.reporting.panel import Picture
from sharding.files import write_bytes


def make_report(output: Path, journal: Journal) -> Path:
    """Read, draw, write; the same folder gives the same report."""
    begun = time.monotonic()
    findings = read_findings(output, journal)
    drawn = draw(findings)
    journal.content["stages"]["report"] = round(time.monotonic() - begun, 1)
    journal.save()
    drawn.append(pictures.stage_times(journal.content["stages"]))
    for picture in drawn:
        write_bytes(output / "pictures" / f"{picture.name}.png", picture.png)
    page = output / "report.html"
    write_bytes(page, write_page(findings, {picture.name: picture for picture in drawn}).encode())
    return page


def draw(findings: Findings) -> list[Picture]:
    """All pictures but that of the times."""
    seen = findings.held_out
    drawn = [curves.losses(findings.metrics)]
    for stream in findings.streams:
        drawn += [
            curves.recalls(stream, findings.evaluation),
            curves.cosine_curves(stream, findings.evaluation),
            pictures.cosine_histogram(stream, seen.cosines[stream]),
        ]
    drawn += [pictures.embedding_map(variant, seen.maps[variant], seen.log_p) for variant in VARIANTS]
    drawn += [pictures.molecule(place, example.smiles) for place, example in enumerate(seen.examples, 1)]
    for comparison in findings.comparisons:
        table = comparison.table
        answers = {
            variant: [
                answers_on_test_part(comparison.runs[variant][seed], table.target)
                for seed in comparison.seeds
            ]
            for variant in VARIANTS
        }
        if table.task == "classification":
            drawn.append(pictures.roc(table, answers))
        else:
            first = {variant: runs[0] for variant, runs in answers.items()}
            drawn += [pictures.parity(table, variant, comparison.seeds[0], first) for variant in VARIANTS]
    return drawn
