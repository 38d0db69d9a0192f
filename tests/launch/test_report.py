"""The report says what the numbers say, in one file that needs nothing else."""

import base64
import csv
import json
import random
import re
import shutil
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread

from launch.journal import Journal
from launch.reporting.demo.comparison import TABLES, VARIANTS, Comparison, Run, read_comparisons, run_name
from launch.reporting.demo.report import make_report
from pretrain.batch import collate
from pretrain.config import LossConfig, ModelConfig
from pretrain.diagnostics import gallery_metrics
from pretrain.encoder import Encoder, build, describe_encoder
from pretrain.plan import gallery_molecules
from sharding.config import RecordConfig
from sharding.errors import UserError
from sharding.files import write_json
from sharding.read import Shards

HELD_OUT = 96
TINY = ModelConfig(
    graph_hidden=16,
    global_heads=2,
    text_hidden=16,
    text_heads=2,
    text_layers=1,
    text_feedforward=32,
    projection=8,
)


class Page(HTMLParser):
    """Images, text and outside references of a page; opened elements must be closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.references: list[str | None] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.references += [given[name] for name in ("src", "href", "srcset", "action") if name in given]
        if tag == "img":
            self.images.append(given)
        elif tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def _exported(folder: Path, shards: Shards) -> dict[str, float]:
    """A small encoder with random weights, as an export leaves it, and what it scores on the gallery."""
    torch.manual_seed(3)
    described = describe_encoder(TINY, LossConfig(), RecordConfig(), shards.tokenizers, {"steps": 30})
    encoder = Encoder(
        build(described, shards.tokenizers).eval(), shards.tokenizers, RecordConfig(), described
    )
    encoder.save(folder)
    gallery = gallery_molecules(shards, shards.split(HELD_OUT)[1], HELD_OUT)
    with torch.inference_mode():
        return gallery_metrics(encoder.model(collate(gallery))[0])


def _write_pretraining(run: Path, last: dict[str, float]) -> None:
    (run).mkdir()
    (run / "config.yaml").write_text(f"evaluation:\n  held_out: {HELD_OUT}\n")
    losses = [
        {
            "step": step,
            "loss": 5 - step / 10,
            "graph_loss": 4 - step / 10,
            "text_loss": 6 - step / 10,
            "chance": 5.5,
        }
        for step in (10, 20, 30)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in losses))
    lines = [{"step": step, **last} for step in (15, 30)]
    (run / "evaluation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    packages = {"torch": "2.13.0", "absent": None}
    write_json(
        run / "environment.json", {"python": "3.11", "packages": packages, "commit": "abc123", "world": 2}
    )


def _write_run(folder: Path, name: str, seed: int, score: float, sha256: str = "f" * 64) -> None:
    """A fine-tuning run with this test score."""
    table, chance = TABLES[name], random.Random(seed)
    folder.mkdir(parents=True)
    sizes = {"train": 80, "valid": 10, "test": 40}
    split = {"kind": "scaffold", "sha256": sha256, "sizes": sizes}
    baseline = 2.0 if table.lower_is_better else 0.5
    scores = {"test": {table.metric: score}, "baseline": {table.metric: baseline}}
    write_json(folder / "metrics.json", {"split": split, **scores})
    with (folder / "predictions.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["smiles", table.target, "split", f"{table.target}_predicted", "error"])
        for row in range(60):
            truth = row % 2 if table.task == "classification" else chance.gauss(-3, 2)
            part = "test" if row < 40 else "train"
            writer.writerow(["C" * (row + 1), truth, part, chance.random(), ""])
        writer.writerow(["CC", "", "test", "0.5", ""])  # a label that is missing


SCORES = {
    ("esol", "pretrained"): (1.0, 1.1),
    ("esol", "scratch"): (1.4, 1.3),
    ("bbbp", "pretrained"): (0.61, 0.66),
    ("bbbp", "scratch"): (0.70, 0.69),
}


@pytest.fixture(scope="module")
def demo(shards_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo's folder in which pretraining helped on ESOL and did not on BBBP, with its report."""
    output = tmp_path_factory.mktemp("demo") / "out"
    shutil.copytree(shards_folder, output / "shards")
    _write_pretraining(output / "pretrain", _exported(output / "encoder", Shards(output / "shards")))
    for (name, variant), scores in SCORES.items():
        for seed, score in enumerate(scores):
            _write_run(output / "finetune" / run_name(name, variant, seed), name, seed, score)
    journal = Journal(output)
    journal.content["machine"] = {"cores": 2, "gpus": []}
    journal.content["stages"] = {"shard": 11.0, "pretrain": 222.0, "export": 9.0, "finetune": 120.0}
    journal.content["commands"] = {
        "shard": {
            "stage": "shard",
            "shown": "python launch/shard.py input=a<b",
            "options": [],
            "seconds": 11.0,
        }
    }
    journal.save()
    make_report(output, journal)
    return output


@pytest.fixture(scope="module")
def page(demo: Path) -> Page:
    return Page((demo / "report.html").read_text())


def test_pictures_are_in_the_page_and_beside_it(demo: Path, page: Page):
    """Each is a PNG with something on it, legible in size, with words for those who cannot see it."""
    kept = {file.read_bytes(): file.stem for file in (demo / "pictures").glob("*.png")}
    assert len(page.images) == len(kept) == 16
    for image in page.images:
        assert len(str(image["alt"])) > 15
        kind, _, data = str(image["src"]).partition(",")
        assert kind == "data:image/png;base64"
        png = base64.b64decode(data, validate=True)
        pixels = imread(BytesIO(png), format="png")
        height, width = pixels.shape[:2]
        assert 600 <= width <= 1600 and 400 <= height <= 1600, kept[png]
        assert pixels[..., :3].std() > 0.02, f"{kept[png]} is blank"


def test_the_page_needs_nothing_else(demo: Path, page: Page):
    html = (demo / "report.html").read_text()
    assert page.open == []
    assert all(str(reference).startswith("data:image/png") for reference in page.references)
    assert not re.search(r"<script|<link|@import|url\(", html)
    assert "input=a<b" in page.text  # escaped, so that it is read as text


def test_the_page_says_what_the_numbers_say(page: Page):
    text = " ".join(page.text.split())
    assert "604 molecules in, 600 kept" in text
    assert "rejected: syntax" in text and "rejected: valence" in text
    assert "Graph stream: loss 1.00, under chance (5.50)" in text
    assert "ESOL: Pretraining helped: RMSE 1.050 with pretraining, 1.350 with random" in text
    assert "BBBP: Pretraining did not help: ROC-AUC 0.635 with pretraining, 0.695 with random" in text
    assert "f" * 64 in text
    assert "3 min 42 s" not in text and "222.0" in text  # a stage's time as it was measured
    assert "absent" not in text


def test_the_exported_encoder_is_checked_against_the_run(page: Page):
    """The fixture's evaluation is the encoder's own, in one batch; another batch size moves rounding only."""
    found = re.search(r"differ by at most ([\d.e+-]+)\.", " ".join(page.text.split()))
    assert found and float(found.group(1)) < 0.02  # one of 96 molecules may change its rank


def test_the_same_folder_gives_the_same_pictures(demo: Path):
    """But for that of the times: this report's own is one of them."""

    def pictures() -> dict[str, bytes]:
        files = (demo / "pictures").glob("*.png")
        return {file.stem: file.read_bytes() for file in files if file.stem != "stages"}

    before = pictures()
    make_report(demo, Journal.open(demo))
    assert pictures() == before


@pytest.mark.parametrize(
    ("name", "pretrained", "scratch", "said"),
    [
        ("esol", (1.0, 1.1), (1.2, 1.3), "Pretraining helped"),
        ("esol", (1.2, 1.3), (1.0, 1.1), "Pretraining did not help"),
        ("esol", (1.0, 1.35), (1.2, 1.3), "No clear difference"),
        ("esol", (1.1, 1.1), (1.1, 1.1), "Pretraining did not help"),
        ("esol", (2.3, 2.4), (2.5, 2.6), "The baseline, 2.000, is not beaten"),
        ("bbbp", (0.72, 0.73), (0.65, 0.66), "Pretraining helped"),
        ("bbbp", (0.65, 0.66), (0.72, 0.73), "Pretraining did not help"),
        ("bbbp", (0.72,), (0.65,), "One seed only, which shows no trend: pretraining is better"),
    ],
)
def test_verdict(name: str, pretrained: tuple[float, ...], scratch: tuple[float, ...], said: str):
    baseline = {"baseline": {TABLES[name].metric: 2.0 if name == "esol" else 0.5}}
    runs = {
        variant: {seed: Run(Path(), score, baseline) for seed, score in enumerate(scores)}
        for variant, scores in zip(VARIANTS, (pretrained, scratch), strict=True)
    }
    assert said in Comparison(TABLES[name], runs).verdict


def test_scores_on_different_splits_are_not_compared(tmp_path: Path):
    _write_run(tmp_path / run_name("esol", "pretrained", 0), "esol", 0, 1.0, sha256="a" * 64)
    _write_run(tmp_path / run_name("esol", "scratch", 0), "esol", 0, 1.0, sha256="b" * 64)
    with pytest.raises(UserError, match="2 different splits"):
        read_comparisons(tmp_path)


def test_a_table_without_both_variants_is_left_out(tmp_path: Path):
    _write_run(tmp_path / run_name("esol", "pretrained", 0), "esol", 0, 1.0)
    assert read_comparisons(tmp_path) == []


def test_a_report_of_an_unfinished_demo_names_what_is_missing(demo: Path, tmp_path: Path):
    shutil.copytree(demo, tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "encoder")
    with pytest.raises(UserError, match=r"encoder/config\.json does not exist yet"):
        make_report(tmp_path / "half", Journal.open(tmp_path / "half"))
