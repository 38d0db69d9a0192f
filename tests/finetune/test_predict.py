"""Prediction: no row is lost or shifted, columns say what they promise, and stopped work goes on."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet

from finetune import predict as module
from finetune.answered import SETS, answered
from finetune.config import PredictConfig
from finetune.library import Piece
from finetune.model import FineTuned
from finetune.predict import predict, summary
from sharding.errors import UserError
from sharding.piecewise import work_folder
from tests.finetune.conftest import DATA, rows_of, write_rows

BAD = {
    "not a molecule": "whitespace", "C1CC": "syntax", "C(C)(C)(C)(C)C": "valence", "": "empty", "*CC": "dummy_atom",
    "c1cccc1": "kekulization", "CC>>CC": "reaction", "C\u00e9": "not_ascii", "C" * 1500: "too_many_atoms",
}  # fmt: skip
GOOD = ["CCO", "c1ccccc1C(=O)N", "[Na+].[Cl-]", "CC(C)Oc1ccncc1", "C", "OCC(O)CO", "Clc1ccc(Br)cc1 "]


@pytest.fixture(scope="module")
def model(esol_run) -> FineTuned:
    return FineTuned.load(esol_run)


@pytest.fixture
def asked(esol_run, tmp_path) -> Callable[..., PredictConfig]:
    """Of a table of 40 rows, every fifth of them bad; any option can be said otherwise."""
    rows = [
        {"name": f"m{n}", "smiles": row["smiles"]} for n, row in enumerate(rows_of(DATA / "esol.csv")[:40])
    ]
    for n, bad in zip(range(0, 40, 5), BAD, strict=False):
        rows[n]["smiles"] = bad
    table = write_rows(tmp_path / "library.csv", rows)

    def make(**options) -> PredictConfig:
        given = {"finetuned": str(esol_run), "table": str(table), "output": str(tmp_path / "out.csv")}
        return PredictConfig(**{**given, **options})

    return make


def test_every_row_is_there_with_all_that_is_said_of_it(asked):
    account = predict(asked())
    given, made = rows_of(Path(asked().table)), rows_of(Path(asked().output))
    assert list(made[0]) == [
        "name", "smiles", "log_solubility_predicted", "log_solubility_low", "log_solubility_high",
        "nearest_tanimoto", "embedding_distance", "inside_domain", "error",
    ]  # fmt: skip
    assert [{"name": row["name"], "smiles": row["smiles"]} for row in made] == given
    assert [row["error"] for row in made] == [BAD.get(row["smiles"], "") for row in given]
    assert (account.n, account.rejected.total(), account.unbounded) == (40, 8, [])
    assert account.outside == sum(row["inside_domain"] == "false" for row in made)
    for row in made:
        values = [row[name] for name in list(row)[2:-1]]
        if row["error"]:
            assert set(values) == {""}
            continue
        answer, low, high, near, far = map(float, values[:-1])
        assert low < answer < high
        assert answer - low == pytest.approx(high - answer, rel=1e-5)
        assert 0 <= near <= 1
        assert far >= 0
        assert values[-1] in ("true", "false")


def test_parquet_keeps_types_and_says_the_same(asked, tmp_path):
    predict(asked())
    listed = csv.read_csv(asked().output)
    typed = pa.table(
        {
            "smiles": pa.array([row["smiles"] or None for row in rows_of(Path(asked().table))]),
            "mass": pa.array(range(40), pa.int16()),
            "tags": pa.array([["a", "b"]] * 40),
        }
    )
    parquet.write_table(typed, tmp_path / "library.parquet", row_group_size=15)
    config = asked(table=str(tmp_path / "library.parquet"), output=str(tmp_path / "out.parquet"))
    predict(config)
    made = parquet.read_table(config.output)
    assert made.select(typed.column_names).equals(typed)
    for name in listed.column_names[2:]:
        assert made[name].to_pylist() == [
            None if value == "" else value for value in listed[name].to_pylist()
        ], name
    as_text = replace(config, output=str(tmp_path / "text.csv"))
    predict(as_text)
    assert rows_of(Path(as_text.output))[1]["tags"] == "['a', 'b']"


def test_a_list_without_columns_gets_lines_and_names(asked, tmp_path):
    listed = tmp_path / "library.smi.gz"
    listed.write_bytes(gzip.compress(b"CCO ethanol\n\nc1ccccc1\nXx not one\n"))
    predict(asked(table=str(listed)))
    rows = rows_of(Path(asked().output))
    assert [(row["line"], row["smiles"], row["id"], row["error"]) for row in rows] == [
        ("1", "CCO", "ethanol", ""), ("3", "c1ccccc1", "", ""), ("4", "Xx", "not one", "syntax")
    ]  # fmt: skip


@settings(max_examples=25, deadline=None, derandomize=True)
@given(mixture=st.lists(st.sampled_from([*GOOD, *BAD]), min_size=1, max_size=12), batch=st.integers(1, 5))
def test_bad_smiles_shift_nothing(model, mixture, batch):
    """In any mixture every molecule gets the answer that it gets alone, and every other row its reason."""
    config = PredictConfig(finetuned="", table="", output="", batch=batch)
    made = answered(Piece(pa.table({"smiles": mixture}), mixture), model, config)
    assert made["smiles"].to_pylist() == mixture
    assert made["error"].to_pylist() == [BAD.get(smiles) for smiles in mixture]
    alone = dict(zip(GOOD, model.predict(model.molecules(GOOD)[0])[:, 0], strict=True))
    for smiles, answer in zip(mixture, made["log_solubility_predicted"].to_pylist(), strict=True):
        assert answer == (pytest.approx(alone[smiles], abs=1e-5) if smiles in alone else None)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_stopped_work_goes_on_to_the_same_bytes(asked, monkeypatch, tmp_path, ending):
    monkeypatch.setattr(module, "PIECE", 9)
    whole, config = (
        asked(output=str(tmp_path / f"whole.{ending}")),
        asked(output=str(tmp_path / f"out.{ending}")),
    )
    predict(whole)
    made, answer = [], module.answered

    def stopping(piece, *rest):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(len(piece))
        return answer(piece, *rest)

    monkeypatch.setattr(module, "answered", stopping)
    with pytest.raises(KeyboardInterrupt):
        predict(config)
    assert not Path(config.output).exists()
    assert len(list(work_folder(Path(config.output)).glob("*.arrow"))) == 2

    def counting(piece, *rest):
        made.append(len(piece))
        return answer(piece, *rest)

    monkeypatch.setattr(module, "answered", counting)
    assert predict(config).n == 40
    assert made == [9, 9, 9, 9, 4]
    assert Path(config.output).read_bytes() == Path(whole.output).read_bytes()
    assert not work_folder(Path(config.output)).exists()
    made.clear()
    predict(replace(config, level=0.8, overwrite=True))  # other work does not go on from it
    assert sum(made) == 40


def test_what_is_not_wanted_is_left_out(asked):
    predict(asked(level=0, applicability=False))
    assert list(rows_of(Path(asked().output))[0]) == ["name", "smiles", "log_solubility_predicted", "error"]
    for level in (1, -0.1, 90):
        with pytest.raises(UserError, match=f"level={level}"):
            asked(level=level)


def test_a_calibration_too_small_for_the_level_bounds_nothing(asked):
    config = asked(level=0.9999)
    account = predict(config)
    assert account.unbounded == ["log_solubility"]
    assert "no interval at level=0.9999 for log_solubility: it takes 9,999 molecules" in summary(
        config, account
    )
    rows = rows_of(Path(config.output))
    assert {row["log_solubility_low"] for row in rows} == {row["log_solubility_high"] for row in rows} == {""}
    assert rows[1]["log_solubility_predicted"] != ""


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("empty.csv", b"smiles\n", "empty.csv has no rows"),
        ("none.csv", b"smiles\nfoo\nbar\n", "holds no valid molecule: 2 x syntax"),
        ("blank.smi", b"\n\n", "blank.smi has no rows"),
        ("library.csv.zst", zstandard.compress(b"smiles,y\nCCO,1\n"), "Decompress it"),
        ("not.parquet", b"smiles\nCCO\n", "is not a whole Parquet file"),
    ],
)
def test_a_file_without_answers_is_one_line_and_leaves_nothing(asked, tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError, match=expected) as caught:
        predict(asked(table=str(tmp_path / name)))
    assert "\n" not in str(caught.value)
    assert set(tmp_path.iterdir()) == before | {tmp_path / "library.csv"}


def test_sets_of_classes_are_the_calibrations(bbbp_run, asked):
    config = asked(finetuned=str(bbbp_run), level=0.6)
    predict(config)
    rows = [row for row in rows_of(Path(config.output)) if not row["error"]]
    model = FineTuned.load(bbbp_run)
    assert model.calibration is not None
    within = model.calibration.classes(np.array([[float(row["p_np_predicted"])] for row in rows]), 0.6)[:, 0]
    assert [row["p_np_set"] for row in rows] == [SETS[int(zero) + 2 * int(one)] for zero, one in within]
    assert SETS == ("neither", "0", "1", "0|1")
