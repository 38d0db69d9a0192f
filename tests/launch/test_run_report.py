"""The report of a pretraining run: of one that was resumed and skipped steps, was killed, or has hardly begun."""

import base64
import hashlib
import json
import os
import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from launch import report
from launch.reporting.panel import apart
from launch.reporting.run.report import report_run
from tests.distributed import run_ranks
from tests.launch import runs
from tests.pretrain import ranks


class Page(HTMLParser):
    """Text of a page, its tables row by row, its pictures and its links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.text, self.open = html, "", []
        self.rows: list[list[str]] = []
        self.pictures: list[bytes] = []
        self.words: list[str] = []
        self.links: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "img":
            kind, _, data = given["src"].partition(",")
            assert kind == "data:image/png;base64"
            self.pictures.append(base64.b64decode(data, validate=True))
            self.words.append(given["alt"])
        elif tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "a":
            self.links.append(given["href"])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        """The cells beside this first one."""
        return next(row[1:] for row in self.rows if row[0] == name)


def _lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def run(shards_folder, tmp_path_factory):
    """Eight steps, resumed after the fourth; the last three changed nothing."""
    folder = tmp_path_factory.mktemp("run")
    options = ranks.config(str(shards_folder), str(folder / "run"), save_every=2, evaluate_every=2)
    run_ranks(runs.resumed_and_skipped, 1, folder, options)
    return folder / "run"


@pytest.fixture(scope="module")
def page(run):
    return Page(report_run(run, run).read_text())


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("pictures", "report.html"))


def test_every_number_is_the_files(run, page):
    metrics, evaluation = _lines(run / "metrics.jsonl"), _lines(run / "evaluation.jsonl")
    assert "Done: 8 of 8 steps" in page.text
    first, last = evaluation[0], evaluation[-1]
    for stream in ("graph", "text"):
        for entry in (first, last):
            shown = [f"{entry[f'{stream}_recall_at_{k}']:.1%}" for k in (1, 5, 10)]
            assert page.row(f"{stream}, step {entry['step']}") == shown
    assert page.row("chance") == [f"{k * last['chance']:.2%}" for k in (1, 5, 10)]
    rates = [line["molecules_per_s"] for line in metrics]
    assert page.row("molecules/s") == [f"{median(rates):,.0f}", f"{rates[-1]:,.0f}"]
    memories = [line["memory_gb"] for line in metrics]
    assert page.row("memory, GB") == [f"{median(memories):.2f}", f"{memories[-1]:.2f}"]
    assert "Graph stream: loss nan, not under chance (3.43)" in page.text
    assert page.row("train.batch") == ["16", "1024"]
    environment = json.loads((run / "environment.json").read_text())
    assert page.row("packages.torch") == [environment["packages"]["torch"]]
    assert page.row("shards") == [environment["shards"]]


def test_what_happened_is_marked_and_listed(run, page):
    assert [line["step"] for line in _lines(run / "skipped.jsonl")] == [6, 7, 8]
    for step in (6, 7, 8):
        assert page.row(str(step))[:2] == ["the loss is not finite", "nan"]
        assert f"skipped/step-{step}.csv" in page.links
        assert (run / f"skipped/step-{step}.csv").is_file()
    assert "3 steps were skipped" in page.text
    assert "Resumed at step 4 with train.learning_rate: 0.001, now 1e+30; train.steps: 4, now 8" in page.text
    assert [row[0] for row in page.rows if row[1:3] == ["1", "0"]] == ["0", "4"]  # starts: ranks, ZeRO stage
    sizes = {
        path.name: sum(f.stat().st_size for f in path.iterdir()) for path in (run / "checkpoints").iterdir()
    }
    assert sizes
    for name, size in sizes.items():
        assert page.row(name)[:2] == [f"{size / 1000:,.1f} kB", "3"]


def test_pictures_differ_and_are_beside_the_page(run, page):
    beside = {hashlib.sha256(file.read_bytes()).digest() for file in (run / "pictures").glob("*.png")}
    assert {hashlib.sha256(png).digest() for png in page.pictures} == beside
    assert len(beside) == len(page.pictures) == 13
    names = {file.stem for file in (run / "pictures").glob("*.png")}
    assert {"losses", "recall_graph", "histogram_text", "geometry", "effective_rank", "speed"} <= names
    assert {"schedule", "gradient_norm", "memory", "cosine_text"} <= names
    assert all(len(words) > 20 for words in page.words)
    evaluation = _lines(run / "evaluation.jsonl")
    before = evaluation[0]["text_positive_cosine"]
    histogram = next(words for words in page.words if "Histograms" in words and "text stream" in words)
    said = float(re.search(r"at step 0 positives (-?[\d.]+),", histogram).group(1))
    assert said == pytest.approx(before, abs=0.02)  # the middle of a bin for each cosine
    assert "step 8: no cosine was finite" in histogram


def test_the_page_needs_nothing_else_and_the_run_is_untouched(run, page):
    assert page.open == []
    assert not re.search(r"<script|<link|@import|url\(|https?:", page.html)
    assert not list(run.glob(".tmp*"))
    assert len(list((run / "checkpoints").glob("step-*"))) == 3


def test_a_killed_run_says_how_far_it_came(copy):
    """Killed in the middle of a line and of a save, hours ago; nobody wrote histograms."""
    metrics = copy / "metrics.jsonl"
    whole = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(b"".join(whole[:6]) + whole[6][:40])
    for name in ("evaluation", "skipped"):
        lines = (copy / f"{name}.jsonl").read_text().splitlines(keepends=True)
        (copy / f"{name}.jsonl").write_text("".join(line for line in lines if json.loads(line)["step"] <= 6))
    (copy / "histograms.jsonl").unlink()
    (copy / "checkpoints" / "step-8").rename(copy / "checkpoints" / "tmp-8")
    ago = time.time() - 7200
    for file in copy.glob("*.jsonl"):
        os.utime(file, (ago, ago))
    output = copy.parent / "elsewhere"
    page = Page(report_run(copy, output).read_text())
    assert "Stopped at step 6 of 8, or stuck: the last line is 2 h 00 min old." in page.text
    assert "The newest checkpoint is step 6" in page.text
    assert "1 line of metrics.jsonl cannot be read and is left out." in page.text
    assert page.row("tmp-8")[-1] == "unfinished: counts for nothing"
    assert "no histograms" in page.text
    assert page.links == ["../copy/skipped/step-6.csv"] and (output / page.links[0]).is_file()
    assert not (copy / "report.html").exists() and not (copy / "pictures").exists()


def test_a_run_that_goes_on_and_one_of_an_older_version(copy):
    """Two lines, no evaluation, nothing but the keys of the first version; written just now."""
    keys = ("step", "loss", "graph_loss", "text_loss", "chance", "molecules_per_s", "data_wait")
    lines = [{key: line[key] for key in keys} for line in _lines(copy / "metrics.jsonl")[:2]]
    for name in (
        "environment.json",
        "evaluation.jsonl",
        "histograms.jsonl",
        "skipped.jsonl",
        "changes.jsonl",
    ):
        (copy / name).unlink()
    shutil.rmtree(copy / "checkpoints")
    (copy / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.utime(copy / "metrics.jsonl", (later := time.time() + 3600, later))  # however slow this machine is
    page = Page(report_run(copy, copy).read_text())
    assert "At step 2 of 8 (25%); the last line is 0 s old. There is no checkpoint yet." in page.text
    for said in (
        "not evaluated yet",
        "no gradient norms",
        "no memory",
        "no record of any",
        "environment.json is",
    ):
        assert said in page.text
    assert len(page.pictures) == 2


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: shutil.rmtree(run), "does not exist"),
        (lambda run: (run / "config.yaml").unlink(), "is no run (no config.yaml)"),
        (lambda run: (run / "config.yaml").write_text("table: esol.csv\n"), "is no pretraining run"),
        (lambda run: (run / "config.yaml").write_text("train: [\n"), "cannot be read"),
        (lambda run: (run / "metrics.jsonl").unlink(), "has no metrics yet"),
        (lambda run: (run / "metrics.jsonl").write_text('{"step": 1, "lo'), "has no metrics yet"),
        (lambda run: (run / "stages.json").write_text("{}"), "is a demo"),
    ],
)
def test_bad_input_is_one_line(damage, said, copy, capsys):
    damage(copy)
    assert report.main([f"run={copy}"]) == 2
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1
    assert not (copy / "report.html").exists()


def test_labels_stand_apart_and_near_their_lines():
    assert apart([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])
    wishes = [0.5, 0.1, 0.52, 0.51, 0.9]
    found = apart(wishes, 0.1)
    assert np.diff(np.sort(found)).min() >= 0.1 - 1e-9
    assert np.argsort(found).tolist() == np.argsort(wishes).tolist()
    assert found[1] == 0.1 and found[4] == 0.9
