"""All that is measured between steps: the gallery, and the probe if there is one.

engine, step  ->  a line of evaluation.jsonl and one of histograms.jsonl
"""

import time
from typing import Any

from pretrain.batch import Batch
from pretrain.diagnostics import evaluate
from pretrain.labelled import Labelled
from pretrain.model import STREAMS
from pretrain.probe import Probe
from pretrain.record import Record
from sharding.progress import ProgressLine


class Evaluation:
    """Every rank makes and calls it alike; the first one writes."""

    def __init__(
        self, engine: Any, gallery: list[Batch], labelled: Labelled | None, record: Record, line: ProgressLine
    ) -> None:
        self.engine, self.gallery, self.record, self.line = engine, gallery, record, line
        self.probe = None if labelled is None else Probe(labelled, gallery[0].size)
        if labelled is not None:
            line.say(labelled.about)

    def __call__(self, step: int) -> dict[str, Any]:
        """Measure, write, say. `seconds` is the time that this took."""
        began = time.perf_counter()
        found, histograms = evaluate(self.engine, self.gallery)
        if self.probe is not None:
            found |= self.probe(self.engine)
        found["seconds"] = time.perf_counter() - began
        self.record.write("evaluation", {"step": step, **found})
        self.record.write("histograms", {"step": step, **histograms})
        self.line.say(f"step {step:,}  held out: {in_words(found)}")
        return found


def in_words(found: dict[str, Any]) -> str:
    """`graph recall@1 12.3%, ...` beside chance, and the probe's score beside its baseline."""
    recalls = ", ".join(
        f"{stream} recall@1 {found[f'{stream}_recall_at_1']:.1%}"
        for stream in STREAMS
        if f"{stream}_recall_at_1" in found
    )
    told = f"{recalls}  (chance {found['chance']:.2%} of {found['gallery']:,.0f})"
    if "probe" not in found:
        return told
    baseline = f" ({found['probe_baseline']:.3f} without it)" if "probe_baseline" in found else ""
    return f"{told}  probe {found['probe_metric']} {found['probe']:.3f}{baseline}"
