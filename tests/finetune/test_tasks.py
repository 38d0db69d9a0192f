"""A table is read as it is written, and a bad one is refused in one line that helps."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from finetune.config import Task
from finetune.tasks import check_free, read_table, table_rows, write_table
from sharding.errors import UserError

DATA = Path(__file__).parents[1] / "data"


def _table(tmp_path: Path, text: str | bytes, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_real_rows_keep_their_order_and_their_text():
    table = read_table(DATA / "esol.csv", "smiles", ["log_solubility"], Task.regression)
    assert len(table.rows) == len(table.smiles) == len(table.labels) == 1128
    assert table.smiles[0].endswith("O ")  # Delaney's file has blanks at the end; they are not ours to drop
    assert table.labels[:2, 0].tolist() == [-0.77, -3.3]


@pytest.mark.parametrize("missing", ["", "nan", "NA", "  ", "None"])
def test_a_missing_label_is_nan(tmp_path, missing):
    path = _table(tmp_path, f"smiles,a,b\nC,1,2\nCC,{missing},3\nCCC,4,5\n")
    labels = read_table(path, "smiles", ["b", "a"], Task.regression).labels
    np.testing.assert_array_equal(labels, [[2, 1], [3, np.nan], [5, 4]])


def test_a_row_may_end_early_and_lines_may_be_blank(tmp_path):
    table = read_table(_table(tmp_path, "smiles,a,b\nC,1\n\nCC,2,x\n"), "smiles", ["a"], Task.regression)
    assert table.rows == [["C", "1", ""], ["CC", "2", "x"]]


def test_gzip_tabs_and_a_byte_order_mark(tmp_path):
    text = "\ufeffsmiles\ta\nC\t1\nCC\t2\n".encode()
    path = _table(tmp_path, gzip.compress(text), "table.tsv.gz")
    assert read_table(path, "smiles", ["a"], Task.regression).smiles == ["C", "CC"]


def test_what_is_written_reads_back(tmp_path):
    rows = [["C,C", 'say "x"', ""], ["two\nlines", " a ", "é"]]
    write_table(tmp_path / "out.csv", ["a", "b", "c"], rows)
    assert [fields for _, fields in table_rows(tmp_path / "out.csv")] == [["a", "b", "c"], *rows]


REFUSED = {
    "no such column": ("smiles,log_p\nC,1\nCC,2\n", "target 'a' is not in"),
    "near miss": ("smiles,A1\nC,1\nCC,2\n", "It has: smiles, A1."),
    "duplicate column": ("smiles,a,a\nC,1,2\n", "several columns named 'a'"),
    "empty file": ("", "is empty"),
    "no rows": ("smiles,a\n", "a header and no rows"),
    "text": ("smiles,a\nC,1\nCC,high\n", "line 3, is 'high'. Expected a number"),
    "infinite": ("smiles,a\nC,1\nCC,inf\n", "is 'inf'. Expected a number"),
    "all missing": ("smiles,a\nC,\nCC,nan\n", "no label in any row"),
    "constant": ("smiles,a\nC,2\nCC,2.0\nCCC,\n", "one label only, 2"),
    "long row": ("smiles,a\nC,1\nCC,2,3\n", "line 3: 3 fields under a header of 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_tables_are_refused_in_one_line(tmp_path, case):
    text, expected = REFUSED[case]
    with pytest.raises(UserError) as refusal:
        read_table(_table(tmp_path, text), "smiles", ["a"], Task.regression)
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("0,1,2", "is '2'. Classification expects 0 or 1"),
        ("1,1,1", "one class only, 1"),
        ("0,yes,1", "is 'yes'"),
    ],
)
def test_classification_wants_both_of_0_and_1(tmp_path, labels, expected):
    rows = "".join(f"C,{label}\n" for label in labels.split(","))
    with pytest.raises(UserError, match=expected):
        read_table(_table(tmp_path, "smiles,a\n" + rows), "smiles", ["a"], Task.classification)


def test_wrong_column_says_which_was_meant(tmp_path):
    path = _table(tmp_path, "SMILES,solubility\nC,1\nCC,2\n")
    with pytest.raises(UserError, match="column 'smile' is not in"):
        read_table(path, "smile", ["solubility"], Task.regression)
    with pytest.raises(UserError, match="Did you mean 'solubility'"):
        read_table(path, "SMILES", ["solubilty"], Task.regression)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_table(tmp_path / "no.csv", "smiles", ["a"], Task.regression)
    with pytest.raises(UserError, match="has no columns"):
        read_table(_table(tmp_path, "C\nCC\n", "a.smi"), "smiles", ["a"], Task.regression)
    whole = gzip.compress(b"smiles,a\n" + b"".join(b"CC,%d\n" % i for i in range(9000)))
    with pytest.raises(UserError, match="not a whole gzip file"):
        read_table(_table(tmp_path, whole[:4000], "cut.csv.gz"), "smiles", ["a"], Task.regression)


def test_a_column_is_never_shadowed(tmp_path):
    with pytest.raises(UserError, match="has a column 'error'"):
        check_free(tmp_path / "a.csv", ["smiles", "error"], ["split", "error"])
