"""Strings that are hardly SMILES: each is accepted, or rejected for a reason that has a name. Never a crash."""

import gzip
import json
import random
from collections import Counter

import pytest
from rdkit import Chem, rdBase

from sharding.config import RecordConfig, ShardConfig
from sharding.guard import guarded
from sharding.job import shard
from sharding.molecule import REASONS
from sharding.partition import canonical_smiles

RECORD = RecordConfig()

NASTY = {
    "": "empty",
    "C" * 300: "too_many_atoms",
    "C" * 2001: "too_long",
    "C1CC(C" * 400: "too_long",
    "[Na+].[Cl-]": "",
    "CC(=O)O.OCCN.Cl": "",
    "[13CH4]": "",
    "[2H]O[2H]": "",
    "[H][H]": "",
    "[H+]": "",
    "N->[Pt](Cl)(Cl)<-N": "",
    "[Cu+2].[O-]S(=O)(=O)[O-]": "",
    "[U]": "",
    "C[*]": "dummy_atom",
    "*": "dummy_atom",
    "[1*]CC[2*]": "dummy_atom",
    "[#6]C": "",
    "[#0]C": "dummy_atom",
    "CC>>CO": "reaction",
    "C.C>CO>CC": "reaction",
    "CC |$R1;$|": "whitespace",
    "CC\tO": "whitespace",
    "CC\x0bO": "whitespace",
    "CC\x00O": "not_ascii",
    r"CC\x00O": "syntax",
    "CCÅ": "not_ascii",
    "\ufeffCC": "not_ascii",
    "CC\u00a0O": "whitespace",
    "C(C)(C)(C)(C)C": "valence",
    "c1ccc1": "",
    "c1cc1C": "kekulization",
    "C1CC": "syntax",
    "C(C": "syntax",
    "[C": "syntax",
    "[Xx]": "syntax",
    "InChI=1S/CH4/h1H4": "syntax",
    "[C][C][O]": "",
    "NO": "",
    "INF": "",
    "nan": "syntax",
    "ethanol": "syntax",
    "%%": "syntax",
    "C%(12345)C": "syntax",
    "[CH3:1][OH:2]": "",
    "F/C=C/F": "",
    "C[C@](F)(Cl)Br": "",
    "[C@@H](F)(Cl)Br": "",
    "c1ccccc1-c1ccccc1": "",
    "[999CH4]": "",
    "[C+99]": "",
    "[CH9]": "valence",
}


@pytest.mark.parametrize("smiles", NASTY, ids=lambda text: ascii(text)[:24])
def test_nasty_strings(smiles):
    ((canonical, reason),) = canonical_smiles([smiles], RECORD)
    assert bool(canonical) != bool(reason)
    assert reason in REASONS or not reason
    if not NASTY[smiles]:
        assert canonical
        assert canonical_smiles([canonical], RECORD)[0][1] == ""
    else:
        assert reason == NASTY[smiles]


def test_a_file_of_nasty_lines_is_accounted_for(tmp_path):
    """Through the file too: names after a space, tabs, CR LF, a BOM, NUL and Latin-1 bytes."""
    lines = [
        b"\xef\xbb\xbfCCO first",
        b"CCN\tname with\ttabs",
        b"CCC\r",
        b"CC\x00O",
        b"CC\xe9O",
        b"",
        b"   ",
        b"OCC again",
        b"C\xff\xfe",
        b"*C",
    ]
    (tmp_path / "in.smi").write_bytes(b"\n".join(lines))
    manifest = shard(ShardConfig(input=str(tmp_path / "in.smi"), output=str(tmp_path / "out")))
    assert (manifest["n_in"], manifest["n_ok"], manifest["n_duplicate"]) == (8, 3, 1)
    packed = (tmp_path / "out" / "rejects.jsonl.gz").read_bytes()
    rejects = [json.loads(line) for line in gzip.decompress(packed).splitlines()]
    assert sorted((r["line"], r["reason"]) for r in rejects) == [
        (4, "syntax"),
        (5, "syntax"),
        (9, "syntax"),
        (10, "dummy_atom"),
    ]


LETTERS = "CNOPSFclBrnos[]()=#@+-/\\.%0123456789:*>~$ \tHKaeIé\x00"


def mutants(sources, count, seed):
    """Real SMILES with letters replaced, dropped, put in, doubled, and pieces exchanged between two."""
    chance = random.Random(seed)
    for _ in range(count):
        text = list(chance.choice(sources))
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            place = chance.randrange(len(text) + 1)
            kind = chance.randrange(5)
            if kind == 0 and text:
                text[place % len(text)] = chance.choice(LETTERS)
            elif kind == 1 and text:
                del text[place % len(text)]
            elif kind == 2:
                text.insert(place, chance.choice(LETTERS))
            elif kind == 3:
                text[place:place] = text[place : place + chance.randrange(1, 30)] * chance.choice((1, 1, 6))
            else:
                other = chance.choice(sources)
                text[place:] = other[chance.randrange(len(other)) :]
        yield "".join(text)


@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_mutated_smiles_never_crash(count, zinc):
    """In the guard, as a job does it: not even the guard has to name one."""
    found = Counter()
    strings = list(mutants(zinc, count, seed=count))
    for start in range(0, count, 1000):
        made, dead = guarded(canonical_smiles, strings[start : start + 1000], RECORD, time_limit_s=20)
        assert dead == {}
        for canonical, reason in made:
            assert bool(canonical) != bool(reason)
            found[reason] += 1
    assert found.total() == count
    assert found.keys() <= {*REASONS, ""}
    assert found[""] > count / 100  # some mutants are molecules
    assert len(found) > 6


def test_accepted_mutants_parse_again(zinc):
    with rdBase.BlockLogs():
        made = canonical_smiles(list(mutants(zinc, 3000, seed=1)), RECORD)
        kept = [canonical for canonical, reason in made if not reason]
        assert all(Chem.MolFromSmiles(canonical) is not None for canonical in kept)
