"""Blocks: whatever goes in comes out, in the same bytes every time, and damage is noticed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding import block
from sharding.columns import Molecules, concatenate
from sharding.config import RecordConfig
from sharding.featurize import featurize_strings
from sharding.tokens import Tokenizers

COLUMNS = Molecules.__slots__


@pytest.fixture(scope="module")
def made(zinc):
    return featurize_strings(zinc[:40], Tokenizers.load(), RecordConfig())[0]


def _same(a, b):
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_round_trip(made):
    members = block.encode(made.molecules, made.smiles, made.texts)
    _same(block.decode(members), made.molecules)
    assert block.strings(members["smiles.txt.gz"]) == made.smiles
    assert block.strings(members["text.txt.gz"]) == made.texts


def test_the_same_molecules_are_the_same_bytes(made):
    assert block.encode(made.molecules, made.smiles, made.texts) == block.encode(
        made.molecules, made.smiles, made.texts
    )


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.integers(0, 39), max_size=60), cut=st.integers(0, 60))
def test_take_slice_and_concatenate_agree_with_python_lists(made, rows, cut):
    """Gathering any rows, cutting them anywhere and joining them again equals picking them one by one."""
    taken = made.molecules.take(np.array(rows, np.int64))
    assert taken.line.tolist() == [made.molecules.line[row] for row in rows]
    cut = min(cut, len(rows))
    _same(concatenate([taken.slice(0, cut), taken.slice(cut, len(rows))]), taken)
    if rows:
        _same(concatenate([made.molecules.slice(row, row + 1) for row in rows]), taken)


@pytest.mark.parametrize("damage", [lambda b: b[:-10], lambda b: b"<html>404</html>", lambda b: b""])
@pytest.mark.parametrize("member", ["graph.npz", "tok.npz"])
def test_a_damaged_member_is_a_broken_block(made, member, damage):
    members = block.encode(made.molecules, made.smiles, made.texts)
    members[member] = damage(members[member])
    with pytest.raises(block.BrokenBlock):
        block.decode(members)


def test_a_pickle_is_never_loaded(made, tmp_path):
    """An object array in a member would run code when loaded; it is a broken block instead."""
    import io
    import zipfile

    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "canary"), "w"))

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        array = io.BytesIO()
        np.lib.format.write_array(array, np.array([Payload()], object))
        archive.writestr("n_atoms.npy", array.getvalue())
    members = block.encode(made.molecules, made.smiles, made.texts) | {"graph.npz": stream.getvalue()}
    with pytest.raises(block.BrokenBlock):
        block.decode(members)
    assert not (tmp_path / "canary").exists()
