"""MoleculeNet by name: the published files give the published columns, and what is not there is said."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from finetune.config import FinetuneConfig, Metric, Task
from finetune.job import finetune
from finetune.molecule_net import DATASETS, named
from finetune.tasks import read_table
from sharding.errors import UserError

DATA = Path(__file__).parents[1] / "data"
PUBLISHED = {
    "esol": (1128, 1),
    "freesolv": (642, 1),
    "bace": (1513, 1),
    "tox21": (7831, 12),
    "sider": (1427, 27),
    "hiv": (41127, 1),
    "muv": (93087, 17),
    "toxcast": (8576, 617),
    "qm7": (6830, 1),
    "qm8": (21786, 12),
}
"""Rows and targets, counted in the files of the sources that the data folder's account names."""


def config(table: Path, dataset: str, **options) -> FinetuneConfig:
    return FinetuneConfig(encoder="-", table=str(table), dataset=dataset, run="-", **options)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_file_is_read_by_its_name(name):
    folder = os.environ.get("MOLPARALLAX_DATA")
    if folder is None or not list(Path(folder).glob(f"{name}.csv*")):
        pytest.skip("MOLPARALLAX_DATA names no folder with the published sets")
    rows, targets = PUBLISHED[name]
    found = named(config(Path(folder), name))
    assert len(found.targets) == targets
    assert (found.task, found.metric) == (DATASETS[name].task, DATASETS[name].metric)
    if rows < 10_000:  # the others take long to read
        table = read_table(Path(found.table), found.smiles, found.targets, found.task)
        assert table.labels.shape == (rows, targets)


def test_a_folder_and_a_file_are_the_same_set(tmp_path):
    (tmp_path / "Delaney-Processed.csv").write_text(
        "measured log solubility in mols per litre,smiles\n1,C\n2,CC\n"
    )
    by_folder = named(config(tmp_path, "esol"))
    assert by_folder == named(config(tmp_path / "Delaney-Processed.csv", "esol"))
    assert by_folder.targets == ["measured log solubility in mols per litre"]
    assert (by_folder.task, by_folder.metric) == (Task.regression, Metric.rmse)
    assert named(config(tmp_path, "esol", metric=Metric.mae)).metric is Metric.mae


def test_every_other_column_is_a_target_where_the_set_says_so(tmp_path):
    (tmp_path / "muv.csv").write_text("MUV-466,MUV-548,mol_id,smiles\n1,0,a,C\n,1,b,CC\n")
    found = named(config(tmp_path, "muv"))
    assert (found.targets, found.smiles) == (["MUV-466", "MUV-548"], "smiles")
    assert named(config(tmp_path, "muv", targets=["MUV-548"])).targets == ["MUV-548"]


def test_a_table_of_ones_own_is_left_as_it_is():
    mine = FinetuneConfig(encoder="-", table="mine.csv", targets=["y"], task=Task.regression, run="-")
    assert named(mine) is mine


@pytest.mark.parametrize(
    ("files", "options", "expected"),
    [
        ({}, {"dataset": "bbpb"}, "none of MoleculeNet's. Did you mean 'bbbp'?"),
        ({}, {"dataset": "bbbp"}, "should hold one file of bbbp, and has none. Known names: bbbp.csv"),
        ({"bbbp.csv": "", "BBBP.tsv": ""}, {"dataset": "bbbp"}, "has several: BBBP.tsv, bbbp.csv"),
        ({"bbbp.csv": "smiles,label\nC,1\n"}, {"dataset": "bbbp"}, "no column 'p_np' (or BBBP)"),
        ({"bbbp.csv": "molecule,p_np\nC,1\n"}, {"dataset": "bbbp"}, "Name the column with the SMILES"),
        ({"bbbp.csv": ""}, {"dataset": "bbbp"}, "is empty"),
        (
            {"clintox.csv": "smiles,FDA_APPROVED,CT_TOX\nC,1,0\n"},
            {"dataset": "clintox", "targets": ["CT_TOXX"]},
            "none of clintox's. Did you mean 'CT_TOX'?",
        ),
    ],
)
def test_what_is_not_there_is_said_in_one_line(files, options, expected, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as refusal:
        named(config(tmp_path, **options))
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_metric_fits_the_task():
    with pytest.raises(
        UserError, match=r"metric=rmse does not fit task=classification. Give roc_auc or pr_auc"
    ):
        FinetuneConfig(
            encoder="-", table="-", targets=["y"], task=Task.classification, run="-", metric=Metric.rmse
        )


def test_a_named_set_is_fine_tuned_and_chosen_by_its_metric(graph_encoder, tmp_path):
    """QM-style: MAE chooses the epoch; targets and task come from the name."""
    rows = (DATA / "esol.csv").read_text().splitlines()[1:80]
    table = tmp_path / "qm7.csv"
    table.write_text("smiles,u0_atom\n" + "\n".join(row.replace(" ,", ",") for row in rows) + "\n")
    metrics = finetune(
        FinetuneConfig(
            encoder=str(graph_encoder),
            table=str(tmp_path),
            dataset="qm7",
            run=str(tmp_path / "run"),
            epochs=2,
        )
    )
    assert metrics["selected_by"] == "mae"
    assert metrics["targets"] == ["u0_atom"]
    assert '"valid_mae"' in (tmp_path / "run" / "history.jsonl").read_text()


def test_parquet_is_a_table_like_any_other(tmp_path):
    columns = {"smiles": ["C", "CC", "CCC"], "y": [1.5, None, -2.0], "n": [1, 2, 3]}
    pa.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet", "smiles", ["y", "n"], Task.regression)
    assert table.smiles == ["C", "CC", "CCC"]
    np.testing.assert_array_equal(table.labels, [[1.5, 1], [np.nan, 2], [-2.0, 3]])
    assert table.rows[1] == ["CC", "", "2"]
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-20])
    with pytest.raises(UserError, match=r"torn\.parquet"):
        read_table(tmp_path / "torn.parquet", "smiles", ["y"], Task.regression)
