"""What a run's numbers say, in sentences and cells."""

import math
from statistics import median
from typing import Any

from launch.reporting.curves import stream_in_short
from launch.reporting.run.findings import RunFindings, last, series
from sharding.progress import duration

UNITS = {
    "molecules_per_s": ("molecules/s", "{:,.0f}", 1.0),
    "tokens_per_s": ("tokens/s", "{:,.0f}", 1.0),
    "flops_per_s": ("GFLOP/s of the model, on real tokens and edges", "{:,.1f}", 1e9),
    "mfu": ("share of the device's peak (MFU)", "{:.1%}", 1.0),
    "data_wait": ("time without data", "{:.1%}", 1.0),
    "memory_gb": ("memory, GB", "{:.2f}", 1.0),
}
"""Key of metrics.jsonl: its name, how it is written, and what it is divided by."""


def state(run: RunFindings) -> str:
    """How far the run is, in one sentence or two."""
    step, total = run.step, run.total
    if run.done:
        took = last(run.metrics, "seconds")
        return f"Done: {total:,} of {total:,} steps" + (
            f", in {duration(took)} of training." if took else "."
        )
    saved = run.published[-1].step if run.published else None
    resumes = (
        f"The newest checkpoint is step {saved:,}; the same command goes on from there."
        if saved is not None
        else "There is no checkpoint yet."
    )
    ago = duration(run.silent_s)
    if run.quiet:
        return f"Stopped at step {step:,} of {total:,}, or stuck: the last line is {ago} old. {resumes}"
    return f"At step {step:,} of {total:,} ({step / total:.0%}); the last line is {ago} old. {resumes}"


def in_short(run: RunFindings) -> list[str]:
    """The results, a sentence each, and what is missing."""
    lines = [stream_in_short(stream, run.metrics[-1], (run.evaluation or [{}])[-1]) for stream in run.streams]
    probe, baseline = last(run.evaluation, "probe"), last(run.evaluation, "probe_baseline")
    if probe is not None:
        beside = f", baseline {baseline:.3f}" if baseline is not None else ""
        lines.append(f"Probe: {run.probe_metric} {probe:.3f}{beside}.")
    rates = [value for _, value in series(run.metrics, "molecules_per_s")]
    if rates:
        lines.append(f"{median(rates):,.0f} molecules/s (median of {len(rates):,} lines).")
    if skipped := len(run.lines["skipped"]):
        lines.append(f"{skipped:,} steps were skipped: see below.")
    lines += [
        f"{count} line{'s' if count > 1 else ''} of {file} cannot be read and {'are' if count > 1 else 'is'} left out."
        for file, count in run.torn.items()
    ]
    return lines


def speeds(run: RunFindings) -> list[tuple[str, str, str]]:
    """Rows of (what, median, last) for what the run recorded."""
    rows = []
    for key, (name, form, unit) in UNITS.items():
        values = [value / unit for _, value in series(run.metrics, key)]
        if values:
            rows.append((name, form.format(median(values)), form.format(values[-1])))
    return rows


def number(value: Any) -> str:
    """A loss, which may be none that is finite."""
    if not isinstance(value, int | float):
        return ""
    return f"{value:.4g}" if math.isfinite(value) else str(value)
