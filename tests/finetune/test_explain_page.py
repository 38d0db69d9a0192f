"""launch/explain.py: the page and its pictures parse, the files hold the numbers, a mistake is one line."""

import base64
import csv
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rdkit import Chem

from finetune.config import FinetuneConfig, Fusion, Modality, Task
from finetune.explain import atoms
from finetune.explain.config import ExplainConfig
from finetune.explain.job import Explanation, parts_of
from finetune.explain.job import explain as explanation
from finetune.explain.space import frameworks
from finetune.explain.subject import Subject
from finetune.job import finetune
from launch import explain
from launch.reporting.explain import in_short, write_report
from sharding.errors import UserError
from tests.finetune.conftest import DATA, rows_of, write_rows
from tests.finetune.explained import untrained

SMILES = ["CCO", "c1ccccc1C(=O)N", "CC(C)Oc1ccncc1", "C1CCCCC1N", "Clc1ccc(Br)cc1"]
TARGET = "log_solubility"
VOID = {"meta", "img", "br"}


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Few steps: how exact the values are is asked in test_explain.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atoms, "STEPS", 2)
        yield


@pytest.fixture(scope="module")
def run(four_views: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 60 molecules of ESOL: 6 of them test."""
    folder = tmp_path_factory.mktemp("run")
    table = write_rows(folder / "esol.csv", rows_of(DATA / "esol.csv")[::18][:60])
    finetune(
        FinetuneConfig(
            encoder=str(four_views), table=str(table), targets=[TARGET], task=Task.regression, epochs=1,
            hidden=16, width=16, heads=2, run=str(folder / "run"),
        )
    )  # fmt: skip
    return folder / "run"


@pytest.fixture(scope="module")
def explained(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the doorway as it is meant to be used."""
    output = tmp_path_factory.mktemp("explained") / "out"
    assert explain.main([f"finetuned={run}", f"output={output}", "draw=3", "at_most=5"]) == 0
    return output


class Balanced(HTMLParser):
    """Every tag is closed by its own."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_page(page: Path) -> str:
    """Parse the page, its drawings, and those beside it."""
    text, parser = page.read_text(), Balanced()
    parser.feed(text)
    assert parser.open == []
    pictures = re.findall(r"data:image/([a-z+]+);base64,([^\"]+)", text)
    for kind, data in pictures:
        content = base64.b64decode(data)
        if kind == "png":
            assert content.startswith(b"\x89PNG")
        else:
            ElementTree.fromstring(content)
    for drawing in page.parent.glob("pictures/*.svg"):
        assert ElementTree.parse(drawing).getroot().tag.endswith("svg")
    return text


def test_the_page_and_its_pictures_parse(explained):
    text = check_page(explained / "report.html")
    for title in ("Which modality decides", "Which atoms move", "What the fingerprint reads", "A map of"):
        assert title in text
    names = {picture.name for picture in (explained / "pictures").iterdir()}
    assert {"shares.png", "tsne-label.png", "tsne-scaffold.png"} <= names
    assert sum(name.startswith("atoms-0-row-") for name in names) == 3
    assert sum(name.startswith("attention-row-") for name in names) == 3


def test_the_files_hold_the_numbers(explained, run):
    table = rows_of(run / "predictions.csv")
    molecules = rows_of(explained / "molecules.csv")
    assert len(molecules) == 5
    for molecule in molecules:
        known = table[int(molecule["row"])]
        assert known["split"] == "test"
        assert float(molecule[TARGET]) == pytest.approx(float(known[TARGET]))
        predicted = float(molecule[f"{TARGET}_predicted"])
        assert predicted == pytest.approx(float(known[f"{TARGET}_predicted"]), abs=1e-5)
    shares = [float(row["share"]) for row in rows_of(explained / "shares.csv")]
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(1, abs=1e-6)
    for line in (explained / "atoms.jsonl").read_text().splitlines():
        found = json.loads(line)
        atoms = Chem.MolFromSmiles(found["smiles"]).GetNumAtoms()
        assert [len(values) for values in found["atoms"].values()] == [atoms]
    for line in (explained / "attention.jsonl").read_text().splitlines():
        views = json.loads(line)["views"]
        assert views["local"].keys() == {"read_out", "weights"}
        graph = sum(
            np.sum(views[view]["weights"], 1) + views[view]["read_out"] for view in ("local", "global")
        )
        np.testing.assert_allclose(graph, 1, atol=1e-4)
        assert len(views["text"]["words"]) == len(views["text"]["weights"][0])
    told = json.loads((explained / "explanation.json").read_text())
    assert told["molecules"] == 5
    assert 0 <= told["maps"]["t-SNE"]["trustworthiness"] <= 1


def test_the_same_seed_explains_the_same(explained, run, tmp_path):
    again = ["draw=3", "at_most=5", "overwrite=true"]
    assert explain.main([f"finetuned={run}", f"output={tmp_path}/out", *again]) == 0
    for name in ("molecules.csv", "shares.csv", "atoms.jsonl", "attention.jsonl", "pictures/shares.png"):
        assert (tmp_path / "out" / name).read_bytes() == (explained / name).read_bytes(), name


def test_rows_of_a_table_without_labels(run, tmp_path):
    with (tmp_path / "mine.csv").open("w") as stream:
        csv.writer(stream).writerows([["structure"], *([smiles] for smiles in SMILES), ["nonsense"]])
    output = tmp_path / "out"
    given = [f"finetuned={run}/model", f"table={tmp_path}/mine.csv", "smiles=structure", f"output={output}"]
    assert explain.main([*given, "rows=[2,4]", "background=1"]) == 0
    assert "row 2, predicted" in check_page(output / "report.html")
    assert len(rows_of(output / "molecules.csv")) == 5
    assert {drawing.stem for drawing in output.glob("pictures/atoms*")} == {"atoms-0-row-2", "atoms-0-row-4"}


def test_a_mistake_is_one_line_and_exit_code_2(run, explained, capsys):
    assert explain.main([f"finetuned={run}", f"output={explained}"]) == 2
    assert re.fullmatch(r"error: output=.* holds an explanation.*overwrite=true\.\n", capsys.readouterr().err)


def test_mistakes_are_told_and_touch_nothing(run, tmp_path):
    taken, table, output = tmp_path / "taken", tmp_path / "mine.csv", tmp_path / "out"
    taken.mkdir()
    (taken / "thesis.tex").write_text("mine")
    table.write_text("smiles\nCCO\nnonsense\n")
    for changed, words in (
        ({"finetuned": str(tmp_path)}, "is no fine-tuned model"),
        ({"finetuned": str(run / "model")}, "Give table=... as well"),
        ({"output": str(taken)}, "holds something else"),
        ({"output": str(table)}, "is a file"),
        ({"targets": ["log_solubilty"]}, "Did you mean 'log_solubility'?"),
        ({"rows": [999]}, "there is no row 999; the table has rows 0 to 59"),
        ({"rows": [-1]}, "-1 is no row"),
        ({"rows": [1, 1]}, "rows=[1,1] names one twice"),
        ({"at_most": 2}, "at_most=2: give 4 or more"),
        ({"table": "no.csv"}, "table=no.csv does not exist"),
        ({"table": str(table), "smiles": "smile"}, "Did you mean 'smiles'?"),
        ({"table": str(table)}, "1 molecules can be read of mine.csv; an explanation needs 4"),
        ({"table": str(table), "rows": [1]}, "row 1 (nonsense) is 1 x syntax (not a SMILES)"),
    ):
        with pytest.raises(UserError, match=re.escape(words)):
            explanation(ExplainConfig(**{"finetuned": str(run), "output": str(output), **changed}))
    assert [path.name for path in taken.iterdir()] == ["thesis.tex"]
    assert not output.exists()


def parts(encoder: Path, **options: object) -> Explanation:
    """All that can be said of a model with these options; two classes."""
    model = untrained(encoder, task=Task.classification, **options)
    made = model.molecules(SMILES)[0]
    labels, predicted = np.array([[1.0], [0.0], [1.0], [0.0], [1.0]]), model.predict(made)
    about = Subject(model, np.arange(5), made, labels, predicted, made, "five molecules")
    return parts_of(about, ExplainConfig(finetuned="", output="", draw=2, background=1))


def test_what_a_model_cannot_have_is_left_out_in_a_sentence(four_views, tmp_path):
    graph = parts(four_views, modalities=[Modality.graph])
    assert graph.shares is None
    assert any("one modality, the graph" in said for said in graph.left_out)
    assert any("has no fingerprint" in said for said in graph.left_out)
    text = check_page(write_report(graph, tmp_path / "graph"))
    assert "Which modality decides" not in text
    assert "Which atoms move" in text
    assert "log-odds of y = 1" in text
    other = parts(four_views, modalities=[Modality.text, Modality.fingerprint], fusion=Fusion.concatenation)
    assert any("reads no graph" in said for said in other.left_out)
    assert any("fusion=concatenation" in said for said in other.left_out)
    assert "Which atoms move" not in check_page(write_report(other, tmp_path / "other"))


def test_text_alone_is_read_and_a_modality_that_decides_alone_is_warned_of(four_views, tmp_path):
    made = parts(four_views, modalities=[Modality.text, Modality.fingerprint])
    made.shares[:] = [[0.04, 0.96]]
    assert in_short(made)[0].startswith("Warning: in y the fingerprint has 96% of the share")
    text = check_page(write_report(made, tmp_path))
    assert 'class="symbols"' in text
    assert "Warning" in text
    made.shares[:] = [[0.2, 0.8]]
    assert not made.dominated()


def test_frameworks_forget_atoms_and_bonds():
    hypervalent = "c1ccc2c(c1)O[P-]13(O2)(Oc2ccccc2O1)Oc1ccccc1O3"
    found = frameworks(["O=C1CCCCN1c1ccncc1", "c1ccccc1-c1ccccc1", "CCO", hypervalent])
    assert found[0] == found[1] == "C1CCC(C2CCCCC2)CC1"
    assert found[2] == ""
    assert "P" in found[3]
