"""Embedding a file: rows in order, reasons beside rows, the encoder's own vectors, and stopped work goes on."""

import gzip
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import csv, parquet

from launch import embed as doorway
from pretrain import embed as module
from pretrain.config import EmbedConfig, LossConfig, ModelConfig
from pretrain.embed import embed
from pretrain.encoder import Encoder, build, describe_encoder
from pretrain.smiles import InvalidSmiles
from sharding import piecewise
from sharding.config import RecordConfig
from sharding.errors import UserError
from tests.pretrain.conftest import TINY


@pytest.fixture(scope="module")
def folder(tokenizers, tmp_path_factory) -> Path:
    """An encoder of random weights."""
    torch.manual_seed(3)
    about = describe_encoder(ModelConfig(**TINY), LossConfig(), RecordConfig(), tokenizers, {"run": "none"})
    folder = tmp_path_factory.mktemp("encoder")
    Encoder(build(about, tokenizers), tokenizers, RecordConfig(), about).save(folder)
    return folder


@pytest.fixture
def config(folder, zinc, tmp_path) -> EmbedConfig:
    """50 molecules, two of them no molecules, with names."""
    rows = [*zinc[:20], "not-a-smiles", *zinc[20:40], "", "C(C)(C)(C)(C)C", *zinc[40:48]]
    text = "\n".join(f"{smiles} name{place}" if smiles else "" for place, smiles in enumerate(rows))
    (tmp_path / "in.smi.gz").write_bytes(gzip.compress(text.encode()))
    return EmbedConfig(
        encoder=str(folder), table=str(tmp_path / "in.smi.gz"), output=str(tmp_path / "out.parquet")
    )


def test_rows_keep_their_order_and_vectors_are_the_encoders(config, folder):
    account = embed(config)
    made = parquet.read_table(config.output)
    assert made.column_names == ["line", "smiles", "id", "error", "local", "global", "smiles_vector", "text"]
    assert made["line"].to_pylist() == [*range(1, 42), *range(43, 52)]  # the blank line is no row
    assert made["id"].to_pylist()[:2] == ["name0", "name1"]
    errors = made["error"].to_pylist()
    assert [(place, error) for place, error in enumerate(errors) if error] == [
        (20, "syntax"),
        (41, "valence"),
    ]
    assert (account.n, account.rejected) == (50, {"syntax": 1, "valence": 1})
    vectors, _ = Encoder.load(folder).embed(made["smiles"].to_pylist())
    for view, column in module.column_names(list(vectors)).items():
        stored = made[column].to_pylist()
        assert stored[20] is None
        good = [place for place in range(50) if errors[place] is None]
        np.testing.assert_allclose([stored[place] for place in good], vectors[view][good], atol=1e-6)


def test_csv_holds_the_same_numbers(config):
    embed(replace(config, views=["local"]))
    rows = parquet.read_table(config.output)["local"].to_pylist()
    wide = replace(config, views=["local"], output=config.output.replace(".parquet", ".csv"))
    embed(wide)
    table = csv.read_csv(wide.output)
    assert table.column_names[:5] == ["line", "smiles", "id", "error", "local_0"]
    for place in (0, 19, 20, 49):
        expected = rows[place] or [None] * 16
        found = [table[f"local_{n}"][place].as_py() for n in range(16)]
        assert found == (expected if rows[place] is None else pytest.approx(expected))


def test_stopped_work_goes_on(config, monkeypatch):
    """Pieces of 8: stopped in the fourth, the others are not made again, and the output is the same."""
    monkeypatch.setattr(module, "PIECE", 8)
    embed(replace(config, output=config.output.replace("out", "whole")))
    made, embed_all = [], Encoder.embed

    def stopping(self, smiles, **options):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(len(smiles))
        return embed_all(self, smiles, **options)

    monkeypatch.setattr(Encoder, "embed", stopping)
    with pytest.raises(KeyboardInterrupt):
        embed(config)
    output = Path(config.output)
    assert not output.exists()
    assert len(list(piecewise.work_folder(output).glob("*.arrow"))) == 3

    def counting(self, smiles, **options):
        made.append(len(smiles))
        return embed_all(self, smiles, **options)

    monkeypatch.setattr(Encoder, "embed", counting)
    assert embed(config).n == 50
    assert made == [8] * 6 + [2]
    assert parquet.read_table(output) == parquet.read_table(config.output.replace("out", "whole"))
    assert not piecewise.work_folder(output).exists()


def test_other_work_does_not_go_on_from_it(config, monkeypatch):
    work = piecewise.work_folder(Path(config.output))
    piecewise.piecewise(
        [1], lambda _: pa.table({"a": [1]}), Path(config.output), {"of": "another job"}, print
    )
    assert not work.exists()
    work.mkdir()
    (work / "identity.json").write_text('{"of": "another job"}')
    (work / "000000000.arrow").write_bytes(b"not ours")
    embed(replace(config, overwrite=True))
    assert parquet.read_table(config.output).num_rows == 50


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"output": "out.txt"}, "ends in .csv or .parquet"),
        ({"output": "."}, "is a folder"),
        ({"views": "[locl]"}, "Did you mean 'local'?"),
        ({"table": "none.smi"}, "does not exist"),
        ({"encoder": "."}, "is no encoder folder"),
        ({"device": "cuda"}, "no CUDA device"),
    ],
)
def test_a_mistake_is_one_line(config, changed, expected, capsys):
    if changed.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    options = {name: getattr(config, name) for name in ("encoder", "table", "output")} | changed
    given = [
        f"{name}={'[' + ','.join(value) + ']' if isinstance(value, list) else value}"
        for name, value in options.items()
    ]
    assert doorway.main(given) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_an_output_is_not_replaced_unasked(config):
    Path(config.output).write_text("mine")
    with pytest.raises(UserError, match="exists"):
        embed(config)
    assert Path(config.output).read_text() == "mine"


def test_python_gets_what_the_file_gets(folder, zinc):
    """`Encoder.from_pretrained(path).embed(smiles)`: order, NaN where rejected, chosen views."""
    smiles = [*zinc[:9], "not-a-smiles", "OCC"]
    encoder = Encoder.from_pretrained(folder, device="cpu")
    found = encoder.embed(np.array(smiles))
    assert list(found.vectors) == ["local", "global", "smiles", "text"]
    assert found.rejected == {9: "syntax"}
    for view, rows in found.vectors.items():
        assert (rows.shape, rows.dtype) == ((11, 16), np.float32)
        assert np.isnan(rows).all(axis=1).tolist() == [place == 9 for place in range(11)]
        chosen = encoder.embed(smiles, views=[view], batch=4).vectors
        assert list(chosen) == [view]
        np.testing.assert_allclose(chosen[view], rows, atol=1e-6)
    (nothing,) = encoder.embed([], views=["global"]).vectors.values()
    assert nothing.shape == (0, 16)


def test_python_refuses_in_words(folder):
    encoder = Encoder.from_pretrained(folder)
    with pytest.raises(
        InvalidSmiles, match=r"1 of 2 SMILES cannot be read: position 1 'C1' \(not a SMILES\)\."
    ) as error:
        encoder.embed(["C", "C1"], strict=True)
    assert isinstance(error.value, ValueError)
    assert pickle.loads(pickle.dumps(error.value)).rejected == {1: "syntax"}
    with pytest.raises(TypeError, match="one str where a sequence of SMILES is expected"):
        encoder.embed("CCO")
    with pytest.raises(UserError, match="Did you mean 'local'"):
        encoder.embed(["CCO"], views=["locale"])
