"""The probe: what it refuses, what it leaves out, and what its score says."""

import numpy as np
import pytest

from pretrain.config import EvaluationConfig
from pretrain.labelled import Labelled, read_labelled
from pretrain.probe import score
from sharding.errors import UserError
from sharding.read import Shards


@pytest.fixture(scope="module")
def shards(shards_folder):
    return Shards(shards_folder)


def table(tmp_path, rows, header="smiles,y", name="table.csv"):
    """A file of these rows."""
    file = tmp_path / name
    file.write_text("\n".join([header, *rows]) + "\n")
    return str(file)


def asked(file, target="y", **more):
    return EvaluationConfig(probe=file, probe_target=target, **more)


def test_a_table_as_the_shards_would_hold_it(shards, zinc, tmp_path):
    rows = [f"{smiles},{place % 7 - 0.5}" for place, smiles in enumerate(zinc[:20])]
    rows += ["not-a-smiles,1.5", f"{zinc[3]},7", f"{zinc[21]},", f"{zinc[22]},NaN", "CCO,1e3"]
    found = read_labelled(asked(table(tmp_path, rows)), shards)
    assert found.labels.tolist() == [place % 7 - 0.5 for place in range(20)] + [1000.0]
    assert not found.classes
    assert found.about == (
        "probe table.csv: 21 molecules with y; left out: 2 without a label, 1 rejected as syntax, "
        "1 of a molecule that is there already"
    )
    stored = shards.read(shards.blocks[0])
    same = np.intersect1d(stored.ids, found.molecules.ids, return_indices=True)
    assert len(same[0])
    ours, theirs = found.molecules.take(same[2]), stored.take(same[1])
    for name in ("atoms", "smiles_tokens", "text_tokens"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))


def test_a_large_table_is_drawn(shards, zinc, tmp_path, monkeypatch):
    monkeypatch.setattr("pretrain.labelled.MOST", 12)
    rows = [f"{smiles},{place}" for place, smiles in enumerate(zinc[:40])]
    found = read_labelled(asked(table(tmp_path, rows)), shards)
    assert len(found.labels) == 12
    assert max(found.labels) > 12
    assert "28 beyond the first drawn" in found.about


@pytest.mark.parametrize(
    ("rows", "target", "header", "told"),
    [
        (["C,1"], "why", "smiles,y", "column 'why' is not in .*It has: smiles, y"),
        (["C,1"], "solubilty", "smiles,solubility", "Did you mean 'solubility'"),
        (["C,1"], "", "smiles,y", "evaluation.probe needs evaluation.probe_target"),
        (["C,high"], "y", "smiles,y", "line 2: the label is 'high'. Expected a number"),
        (["C,inf"], "y", "smiles,y", "line 2: the label is 'inf'"),
        (["C,1", "CC,1"], "y", "smiles,y", "every label is 1, so there is nothing to predict"),
        (["C,1", "CC,0"], "y", "smiles,y", "1 valid molecules of a class, where a score needs 10"),
        (["C,1", "CC,0.5"], "y", "smiles,y", "2 valid molecules, where a score needs 10"),
        (["C,"], "y", "smiles,y", "has no row with a label in y"),
        ([], "y", "smiles,y", "has no row with a label in y"),
        (["C,1"], "y", "SMILES,y", "Did you mean 'SMILES'"),
    ],
)
def test_a_table_that_gives_no_score(rows, target, header, told, shards, tmp_path):
    with pytest.raises(UserError, match=told):
        read_labelled(asked(table(tmp_path, rows, header), target), shards)


def test_what_is_no_table(shards, tmp_path):
    with pytest.raises(UserError, match="is no table"):
        read_labelled(asked(table(tmp_path, ["C 1"], name="a.smi")), shards)
    with pytest.raises(UserError, match="does not exist"):
        read_labelled(asked(str(tmp_path / "nowhere.csv")), shards)
    with pytest.raises(UserError, match="is empty"):
        (tmp_path / "empty.csv").write_text("")
        read_labelled(asked(str(tmp_path / "empty.csv")), shards)
    assert read_labelled(EvaluationConfig(), shards) is None


def labelled(labels):
    """Labels whose molecules nobody asks for."""
    return Labelled(molecules=None, labels=labels, about="")


def test_vectors_that_know_the_label_and_vectors_that_do_not():
    """Against the definition: R2 of out-of-fold predictions; the mean of the others is no better than nothing."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(200, 8)).astype(np.float32)
    labels = vectors @ np.arange(8) + random.normal(size=200)
    found = score(vectors, labelled(labels))
    noise = 1 / labels.var()
    assert found["probe_metric"] == "r2"
    assert 1 - 2 * noise < found["probe"] < 1
    assert found["probe_rmse"] == pytest.approx(np.sqrt((1 - found["probe"]) * labels.var()))
    assert -0.1 < found["probe_baseline"] < 0
    assert found["probe_rmse_baseline"] == pytest.approx(labels.std(), rel=0.05)
    assert score(vectors, labelled(labels)) == found  # the folds are those of a fixed seed
    blind = score(random.normal(size=(200, 8)), labelled(labels))
    assert blind["probe"] < 0.1

    classes = labelled((labels > 0).astype(float))
    assert score(vectors, classes) == {
        "probe_metric": "roc_auc",
        "probe": pytest.approx(0.97, abs=0.03),
        "probe_baseline": 0.5,
    }
    assert score(random.normal(size=(200, 8)), classes)["probe"] == pytest.approx(0.5, abs=0.15)
    vectors[3, 2] = np.nan
    assert np.isnan(score(vectors, classes)["probe"])
