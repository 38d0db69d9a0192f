"""What a job can be asked to do besides: many inputs, names, standardisation, fingerprints."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import zstandard
from pyarrow import parquet
from rdkit import Chem

from sharding import block
from sharding.config import Executor, Fingerprint, RecordConfig, ShardConfig, StandardiseConfig
from sharding.fingerprint import WIDTHS, fingerprints
from sharding.job import shard
from sharding.molecule import canonicalise
from sharding.plan import load_plan
from sharding.read import Shards

LIMITS = {"max_atoms": 255, "max_characters": 2000}


def _members(folder):
    shards = Shards(Path(folder))
    return [shards.members(ref) for ref in shards.blocks]


def _names(folder):
    """{canonical SMILES: name}"""
    found = {}
    for members in _members(folder):
        found |= zip(*(block.strings(members[name]) for name in ("smiles.txt.gz", "id.txt.gz")), strict=True)
    return found


def test_a_pile_of_files_of_every_kind(zinc, tmp_path):
    """Here and on processes: every row with its name, and from both the same bytes."""
    folder = tmp_path / "pile"
    folder.mkdir()
    parts = [zinc[start : start + 40] for start in range(0, 200, 40)]
    named = [
        [(smiles, f"M{part}-{row} x") for row, smiles in enumerate(rows)] for part, rows in enumerate(parts)
    ]
    (folder / "a.smi").write_text("".join(f"{smiles} {name}\n" for smiles, name in named[0]))
    table = "name,smiles\n" + "".join(f'"{name}",{smiles}\n' for smiles, name in named[1])
    (folder / "b.csv.gz").write_bytes(gzip.compress(table.encode()))
    table = "smiles\tname\n" + "".join(f"{smiles}\t{name}\n" for smiles, name in named[2])
    (folder / "c.tsv.zst").write_bytes(zstandard.compress(table.encode()))
    columns = {"smiles": [s for s, _ in named[3]], "name": [n for _, n in named[3]]}
    parquet.write_table(pyarrow.table(columns), folder / "d.parquet")
    (folder / "e.txt").write_text("".join(f"{smiles}\t{name}\r\n" for smiles, name in named[4]) + "C1CC\n")
    config = ShardConfig(
        input=[str(folder), str(folder / "*.smi")],  # twice is once
        output=str(tmp_path / "out"),
        id_column="name",
    )
    manifest = shard(config)
    assert (manifest["n_in"], manifest["n_ok"], manifest["n_rejected"]) == (201, 200, {"syntax": 1})
    assert [one["name"] for one in manifest["inputs"]] == [
        "a.smi",
        "b.csv.gz",
        "c.tsv.zst",
        "d.parquet",
        "e.txt",
    ]
    expected = {canonicalise(smiles, **LIMITS): name for rows in named for smiles, name in rows}
    assert _names(tmp_path / "out") == expected
    rejects = (tmp_path / "out" / "rejects.jsonl.gz").read_bytes()
    rejected = json.loads(gzip.decompress(rejects))
    assert (Path(rejected["file"]).name, rejected["line"]) == ("e.txt", 41)
    other = replace(config, output=str(tmp_path / "processes"), executor=Executor.processes, workers=2)
    assert shard(other) == manifest
    assert (tmp_path / "processes" / "rejects.jsonl.gz").read_bytes() == rejects
    for file in (tmp_path / "out").rglob("*.tar"):
        assert (tmp_path / "processes" / file.relative_to(tmp_path / "out")).read_bytes() == file.read_bytes()


def test_every_molecule_remembers_its_file_and_line(zinc, tmp_path):
    (tmp_path / "a.smi").write_text("\n".join(zinc[:30]) + "\n")
    (tmp_path / "b.csv").write_text("smiles\n" + "\n".join(zinc[30:60]) + "\n")
    shard(ShardConfig(input=[f"{tmp_path}/a.smi", f"{tmp_path}/b.csv"], output=str(tmp_path / "out")))
    plan, shards = load_plan(str(tmp_path / "out")), Shards(tmp_path / "out")
    seen = set()
    for ref in shards.blocks:
        for smiles, number in zip(shards.smiles(ref), shards.read(ref).line.tolist(), strict=True):
            url, line = plan.origin(number)
            text = Path(url).read_text().splitlines()[line - 1]
            assert canonicalise(text, **LIMITS) == smiles
            seen.add((url, line))
    assert len(seen) == 60


def test_names_can_be_left_out(zinc, tmp_path):
    (tmp_path / "a.smi").write_text("".join(f"{smiles} name\n" for smiles in zinc[:20]))
    shard(ShardConfig(input=f"{tmp_path}/a.smi", output=str(tmp_path / "out"), keep_ids=False))
    assert all("id.txt.gz" not in members for members in _members(tmp_path / "out"))


@pytest.mark.parametrize(
    ("options", "smiles", "expected"),
    [
        ({}, ["CC(=O)[O-].[Na+]"], "CC(=O)[O-].[Na+]"),
        ({"largest_fragment": True}, ["CC(=O)[O-].[Na+]", "CC(=O)[O-].[K+]"], "CC(=O)[O-]"),
        ({"largest_fragment": True, "uncharge": True}, ["CC(=O)[O-].[Na+]", "CC(O)=O"], "CC(=O)O"),
        ({"uncharge": True}, ["C[NH+](C)C"], "CN(C)C"),
        ({"canonical_tautomer": True}, ["Oc1ccccn1", "O=c1cccc[nH]1"], "O=c1cccc[nH]1"),
    ],
)
def test_standardised_molecules_are_one(options, smiles, expected, tmp_path):
    (tmp_path / "a.smi").write_text("\n".join(smiles) + "\n")
    record = RecordConfig(standardise=StandardiseConfig(**options))
    manifest = shard(ShardConfig(input=f"{tmp_path}/a.smi", output=str(tmp_path / "out"), record=record))
    assert (manifest["n_ok"], manifest["n_duplicate"]) == (1, len(smiles) - 1)
    (ref,) = Shards(tmp_path / "out").blocks
    assert Shards(tmp_path / "out").smiles(ref) == [expected]


def test_fingerprints_travel_with_their_molecules(zinc, tmp_path):
    (tmp_path / "a.smi").write_text("\n".join(zinc[:150]) + "\n")
    record = RecordConfig(fingerprints=list(Fingerprint))
    shard(ShardConfig(input=f"{tmp_path}/a.smi", output=str(tmp_path / "out"), record=record))
    rows = 0
    for members in _members(tmp_path / "out"):
        molecules = [Chem.MolFromSmiles(smiles) for smiles in block.strings(members["smiles.txt.gz"])]
        stored, computed = block.fingerprints(members), fingerprints(molecules, list(Fingerprint))
        assert {name: array.shape[1] for name, array in stored.items()} == {
            k.value: v for k, v in WIDTHS.items()
        }
        for name, array in computed.items():
            np.testing.assert_array_equal(stored[name.value], array)
        rows += len(molecules)
    assert rows == 150
