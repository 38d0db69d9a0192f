"""launch/finetune.py and launch/predict.py: thin, quick to help, one line for a mistake."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.config import FinetuneConfig
from launch import finetune, predict

ROOT = Path(__file__).parents[2]


def _refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


@pytest.fixture
def options(graph_encoder: Path, esol: Path, tmp_path: Path) -> dict[str, str]:
    """A run of the doorway that works."""
    return {
        "encoder": str(graph_encoder),
        "table": str(esol),
        "targets": "[log_solubility]",
        "task": "regression",
        "run": str(tmp_path / "run"),
        "epochs": "1",
    }


def _arguments(options: dict[str, str], **changed: str | None) -> list[str]:
    return [f"{name}={value}" for name, value in (options | changed).items() if value is not None]


MISTAKES = {
    "unknown option": ({"epoch": "3"}, "unknown option 'epoch'. Did you mean 'epochs'?"),
    "no task": ({"task": None}, "option task=... is required"),
    "no such task": ({"task": "ranking"}, "ranking"),
    "targets is a word": ({"targets": "log_solubility"}, "targets"),
    "no targets": ({"targets": "[]"}, "names no column"),
    "target twice": ({"targets": "[a,a]"}, "names one twice"),
    "fractions": ({"fractions": "[0.8,0.3,0.1]"}, "add up to 1"),
    "epochs": ({"epochs": "0"}, "epochs=0: give 1 or more"),
    "rate": ({"learning_rate": "nan"}, "learning_rate=nan"),
    "dropout": ({"dropout": "1"}, "dropout=1.0"),
    "split file": ({"split": "file"}, "go together"),
    "split file missing": ({"split": "file", "split_file": "no.json"}, "no.json does not exist"),
    "column": ({"smiles": "smile"}, "Did you mean 'smiles'?"),
    "target": ({"targets": "[log_solubilty]"}, "Did you mean 'log_solubility'?"),
    "target is the SMILES": ({"targets": "[smiles]"}, "Expected a number"),
    "classes": ({"task": "classification"}, "Classification expects 0 or 1"),
    "table": ({"table": "no.csv"}, "'no.csv' does not exist"),
    "encoder": ({"encoder": "."}, "is no encoder folder"),
    "view": ({"views": "[locl]"}, "has no view 'locl'. Did you mean 'local'?"),
    "device": ({"device": "tpu"}, "tpu"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(mistake, options, capsys, tmp_path):
    changed, expected = MISTAKES[mistake]
    error = _refused(capsys, finetune.main(_arguments(options, **changed)))
    assert expected in error
    assert not (tmp_path / "run").exists()


def test_a_table_without_a_molecule(options, capsys, tmp_path):
    table = tmp_path / "none.csv"
    table.write_text("smiles,log_solubility\nfoo,1\nbar,2\n")
    error = _refused(capsys, finetune.main(_arguments(options, table=str(table))))
    assert "holds no valid molecule: 2 x syntax (not a SMILES)" in error


def test_a_table_too_small_to_split(options, capsys, tmp_path):
    table = tmp_path / "few.csv"
    table.write_text("smiles,log_solubility\nC,1\nCC,2\nCCC,3\n")
    error = _refused(capsys, finetune.main(_arguments(options, table=str(table))))
    assert "leaves none for train" in error


@pytest.mark.parametrize("content", ["thesis.tex", "config.yaml"])
def test_a_folder_with_something_else_is_left_alone(content, options, capsys, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / content).write_text("mine\n")
    error = _refused(capsys, finetune.main(_arguments(options, overwrite="true")))
    assert "holds something else" in error
    assert (tmp_path / "run" / content).read_text() == "mine\n"
    assert len(list((tmp_path / "run").iterdir())) == 1


def test_predict_mistakes_leave_nothing(options, capsys, tmp_path):
    assert finetune.main(_arguments(options)) == 0
    capsys.readouterr()
    output, bad = tmp_path / "out.csv", tmp_path / "bad.csv"
    bad.write_text("smiles\nfoo\n")
    taken = tmp_path / "taken.csv"
    taken.write_text("mine")
    good = {"finetuned": options["run"], "table": options["table"], "output": str(output)}
    for changed, expected in (
        ({"finetuned": str(tmp_path)}, "is no fine-tuned model"),
        ({"finetuned": options["encoder"]}, "is no fine-tuned model"),
        ({"smiles": "SMILE"}, "column 'SMILE' is not in"),
        ({"table": str(bad)}, "holds no valid molecule"),
        ({"table": str(Path(options["run"]) / "predictions.csv")}, "has a column 'log_solubility_predicted'"),
        ({"output": str(taken)}, "exists"),
        ({"output": options["table"], "overwrite": "true"}, "is the table itself"),
        ({"output": str(tmp_path)}, "is a folder"),
        ({"output": str(tmp_path / "out.xlsx")}, "ends in .csv"),
    ):
        code = predict.main(_arguments(good | changed))
        lines = capsys.readouterr().err.splitlines()
        assert code == 2
        assert lines[-1].startswith("error: ")
        assert expected in lines[-1]
        assert not output.exists()
    assert taken.read_text() == "mine"
    assert not list(tmp_path.glob(".tmp-*"))


def test_runs_as_a_file_from_anywhere(options):
    """A subprocess in `/`, where nothing of this project is on Python's path but the script's own folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        script = str(ROOT / "launch" / f"{name}.py")
        return subprocess.run(
            [sys.executable, script, *arguments], cwd="/", env=environment, capture_output=True, text=True
        )

    done = run("finetune", *_arguments(options))
    assert done.returncode == 0, done.stderr
    assert "split scaffold: 128 train, 16 valid, 16 test, sha256 " in done.stdout
    assert (Path(options["run"]) / "metrics.json").is_file()
    done = run("predict", "--help")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["finetune", "predict"])
def test_help_needs_no_torch(name):
    """Seconds are for benchmarks; that nothing heavy is imported is for a test."""
    code = (
        f"import sys; from launch import {name}; {name}.main(['--help']);"
        "sys.exit(bool({'torch', 'rdkit', 'sklearn', 'hydra', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "table  <str, required>" in done.stdout


def test_every_option_has_a_meaning(capsys):
    assert finetune.main(["--help"]) == 0
    said = capsys.readouterr().out.splitlines()
    for name in FinetuneConfig.__dataclass_fields__:
        place = next(n for n, line in enumerate(said) if line.startswith(f"  {name}  <"))
        assert said[place + 1].startswith("      ")
