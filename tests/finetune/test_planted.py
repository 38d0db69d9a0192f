"""Nothing that lies in a folder is ever executed: planted pickles leave no trace, whatever they are called."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from finetune.run_folder import RunFolder
from launch import embed, predict
from launch import finetune as doorway

BESIDE = ("pytorch_model.bin", "model.pkl", "head.pt", "data.pickle", "checkpoint.ckpt", "__init__.py")
TABLE = "smiles,y\nCCO,1\nCCN,2\n"


class Canary:
    """Whoever unpickles it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def sung(tmp_path: Path) -> Path:
    """Where the canary's folder would be."""
    return tmp_path / "sung"


@pytest.fixture(params=["pickle", "torch"])
def planted(request: pytest.FixtureRequest, sung: Path, tmp_path: Path) -> bytes:
    """A plain pickle, and torch's archive of one. Both sing when they are loaded."""
    file = tmp_path / "planted"
    if request.param == "pickle":
        file.write_bytes(pickle.dumps(Canary(sung)))
        pickle.loads(file.read_bytes())
    else:
        torch.save({"weight": Canary(sung)}, file)
        torch.load(file, weights_only=False)
    sung.rmdir()
    return file.read_bytes()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, graph_encoder: Path) -> Path:
    """A fine-tuned model's folder."""
    folder = tmp_path_factory.mktemp("planted")
    rows = "".join(f"{'C' * (length + 1)}O,{length}\n" for length in range(20))
    (folder / "table.csv").write_text(f"smiles,y\n{rows}")
    assert doorway.main(_given(_options(graph_encoder, folder))) == 0
    return folder / "run" / "model"


def _given(options: dict[str, object]) -> list[str]:
    return [f"{name}={value}" for name, value in options.items()]


def _options(encoder: Path, folder: Path) -> dict[str, object]:
    return {
        "encoder": encoder, "table": folder / "table.csv", "run": folder / "run", "targets": "[y]",
        "task": "regression", "split": "random", "fusion": "sum", "modalities": "[graph]", "epochs": 1,
    }  # fmt: skip


def _embed(encoder: Path, folder: Path) -> int:
    (folder / "few.csv").write_text(TABLE)
    given = {"encoder": encoder, "table": folder / "few.csv", "output": folder / "embedded.csv"}
    return embed.main(_given(given))


def _predict(model: Path, folder: Path) -> int:
    (folder / "few.csv").write_text(TABLE)
    given = {"finetuned": model, "table": folder / "few.csv", "output": folder / "predicted.csv"}
    return predict.main(_given(given))


def _one_line(capsys: pytest.CaptureFixture[str], expected: str) -> None:
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert expected in error
    assert error.count("\n") == 1, error


def test_what_lies_beside_the_weights_is_not_looked_at(
    planted: bytes, sung: Path, model: Path, tmp_path: Path
):
    shutil.copytree(model, tmp_path / "model")
    for folder in ("model", "model/encoder", "model/encoder/tokenizers/smiles"):
        for name in BESIDE:
            (tmp_path / folder / name).write_bytes(planted)
    assert _predict(tmp_path / "model", tmp_path) == 0
    assert (tmp_path / "predicted.csv").read_text().count("\n") == 3
    assert _embed(tmp_path / "model" / "encoder", tmp_path) == 0
    assert not sung.exists()


@pytest.mark.parametrize("where", ["model.safetensors", "config.json", "tokenizers/smiles/tokenizer.json"])
def test_a_pickle_under_the_name_of_an_encoders_file(
    where: str, planted: bytes, sung: Path, graph_encoder: Path, tmp_path: Path, capsys
):
    shutil.copytree(graph_encoder, tmp_path / "encoder")
    (tmp_path / "encoder" / where).write_bytes(planted)
    (tmp_path / "table.csv").write_text(TABLE)
    assert doorway.main(_given(_options(tmp_path / "encoder", tmp_path))) == 2
    _one_line(capsys, Path(where).name)
    assert _embed(tmp_path / "encoder", tmp_path) == 2
    _one_line(capsys, Path(where).name)
    assert not sung.exists()
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "embedded.csv").exists()


@pytest.mark.parametrize(
    "where",
    [
        "head.safetensors",
        "calibration.safetensors",
        "domain.safetensors",
        "config.json",
        "encoder/model.safetensors",
    ],
)
def test_a_pickle_under_the_name_of_a_models_file(
    where: str, planted: bytes, sung: Path, model: Path, tmp_path: Path, capsys
):
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model" / where).write_bytes(planted)
    assert _predict(tmp_path / "model", tmp_path) == 2
    _one_line(capsys, Path(where).name)
    assert not sung.exists()
    assert not (tmp_path / "predicted.csv").exists()


def test_a_pickle_in_place_of_an_unfinished_fits_state(
    planted: bytes, sung: Path, graph_encoder: Path, model: Path, tmp_path: Path, monkeypatch, capsys
):
    shutil.copy(model.parents[1] / "table.csv", tmp_path / "table.csv")
    given = _given(_options(graph_encoder, tmp_path))

    def interrupted(_: RunFolder, records: list[object]) -> None:
        if records:  # the first epoch is over, and its state is written
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "write_history", interrupted)
    assert doorway.main(given) == 130
    monkeypatch.undo()
    state = tmp_path / "run" / "state" / "member-0.safetensors"
    state.write_bytes(planted)
    capsys.readouterr()
    assert doorway.main(given) == 2
    assert "member-0.safetensors cannot be read" in capsys.readouterr().err
    assert not sung.exists()
    assert state.read_bytes() == planted
