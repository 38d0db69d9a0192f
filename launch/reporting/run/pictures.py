"""All pictures of a run, in the order of the page.

RunFindings  ->  Pictures; none of what the run did not record
"""

from collections.abc import Iterator

from launch.reporting import curves
from launch.reporting.panel import Picture
from launch.reporting.run import embedding, work
from launch.reporting.run.findings import RunFindings, series


def draw(run: RunFindings) -> list[Picture]:
    """All that the run has numbers for."""
    return list(_draw(run))


def _draw(run: RunFindings) -> Iterator[Picture]:
    yield curves.losses(run.metrics, run.marks)
    if run.evaluation:
        for stream in run.streams:
            yield curves.recalls(stream, run.evaluation, run.marks)
            yield curves.cosine_curves(stream, run.evaluation, run.marks)
        yield embedding.geometry(run)
        yield embedding.effective_rank(run)
    if run.lines["histograms"]:
        yield from (embedding.histograms(stream, run.lines["histograms"]) for stream in run.streams)
    if series(run.evaluation, "probe"):
        yield embedding.probe(run)
    if series(run.metrics, "learning_rate"):
        yield work.schedule(run)
    if series(run.metrics, "gradient_norm") or work.towers(run):
        yield work.gradient_norms(run)
    if series(run.metrics, "molecules_per_s") and series(run.metrics, "data_wait"):
        yield work.speed(run)
    if series(run.metrics, "memory_gb"):
        yield work.memory(run)
