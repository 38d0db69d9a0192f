"""launch/shard.py beyond running: plan, verify, repair, inspect, as a user meets them."""

import gzip
import re

import pytest

from launch import shard


@pytest.fixture
def made(zinc, tmp_path, capsys):
    """A finished set of 300 molecules with a duplicate and two rejects, and the arguments that made it."""
    rows = [*zinc[:300], zinc[0], "C1CC", "CC(C)(C)(C)C", "<b>"]
    (tmp_path / "in.smi").write_text("\n".join(f"{smiles} m{n}" for n, smiles in enumerate(rows)) + "\n")
    arguments = [f"input={tmp_path}/in.smi", f"output={tmp_path}/out"]
    assert shard.main(arguments) == 0
    assert "300 kept, 1 duplicates, 3 rejected" in capsys.readouterr().out
    return arguments, tmp_path / "out"


def test_plan_says_what_would_be_done_and_writes_nothing(zinc, tmp_path, capsys):
    with gzip.open(tmp_path / "in.csv.gz", "wt") as table:
        table.write("id,smiles\n" + "".join(f"{n},{smiles}\n" for n, smiles in enumerate(zinc[:200])))
    arguments = [f"input={tmp_path}/in.csv.gz", f"output={tmp_path}/out", "mode=plan"]
    assert shard.main(arguments) == 0
    said = capsys.readouterr().out
    assert "200 rows in 1 files" in said
    assert re.search(r"4 partition tasks, then 4 shards", said)
    assert re.search(r"costs [\d,]+ us to canonicalise and [\d,]+ us to featurize", said)
    assert "Nothing was written" in said
    assert not (tmp_path / "out").exists()


def test_verify_says_all_is_well_and_what_is_not(made, capsys):
    _, output = made
    assert shard.main([f"output={output}", "mode=verify"]) == 0
    assert "all is as it was written" in capsys.readouterr().out
    (output / "shards" / "s000002.tar").unlink()
    assert shard.main([f"output={output}", "mode=verify"]) == 1
    assert "shards/s000002.tar: missing" in capsys.readouterr().out


def test_repair_mends_it(made, capsys):
    arguments, output = made
    (output / "shards" / "s000002.tar").write_text("<html>")
    assert shard.main([*arguments, "mode=repair"]) == 0
    assert "1 problems mended" in capsys.readouterr().out
    assert shard.main([f"output={output}", "mode=verify"]) == 0


def test_inspect_draws(made, capsys):
    _, output = made
    assert shard.main([f"output={output}", "mode=inspect"]) == 0
    assert f"page with drawings: {output}/inspect.html" in capsys.readouterr().out
    page = (output / "inspect.html").read_text()
    assert page.count("<svg") == 4 + 12  # sizes, molecules
    assert "line 303: CC(C)(C)(C)C" in page
    assert "&lt;b&gt;" in page  # what stood in the input is text here
    assert "<b>" not in page
    assert "http" not in re.sub(r'xmlns(:\w+)?=[\'"][^\'"]*[\'"]', "", page)  # no outside resource
    assert shard.main([f"output={output}", "mode=verify"]) == 0  # the page is no foreign file


@pytest.mark.parametrize("mode", ["verify", "inspect"])
def test_a_folder_without_shards_is_one_line(mode, tmp_path, capsys):
    assert shard.main([f"output={tmp_path}/none", f"mode={mode}"]) == 2
    assert "does not exist" in capsys.readouterr().err
