"""Blocks: whatever goes in comes out, in the same bytes every time, and damage is noticed."""

import gzip
import io
import zipfile

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding import block, graph_steps, words
from sharding.archive import BrokenBlock, pack_arrays, tar_members, unpack_arrays
from sharding.columns import NAMES, Molecules, concatenate
from sharding.config import RecordConfig
from sharding.featurize import featurize_strings
from sharding.identity import hash_names
from sharding.tokens import END, START, Tokenizers

UNUSUAL = ["C", "[Na+].[Cl-]", "CC(=O)[O-].[NH4+]", "C1CC1.C1CC1C", "C12C3C4C1C5C2C3C45", "[2H]O[2H]"]


@pytest.fixture(scope="module")
def tokenizers():
    return Tokenizers.load()


@pytest.fixture(scope="module")
def made(zinc, tokenizers):
    return featurize_strings([*zinc[:60], *UNUSUAL], tokenizers, RecordConfig())[0]


@pytest.fixture(scope="module")
def members(made, tokenizers):
    return block.encode(made.molecules, made.smiles, made.texts, tokenizers=tokenizers)


def _same(a, b):
    for name in NAMES:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def _stored(made, members):
    """Which row of `made` each stored row is."""
    return np.array([made.smiles.index(smiles) for smiles in block.strings(members["smiles.txt.gz"])])


@pytest.mark.parametrize("with_tokenizers", [True, False])
def test_round_trip(made, tokenizers, with_tokenizers):
    """Every row once, all of its columns and strings at the same place."""
    fingerprints = {
        "bits": np.random.default_rng(0).random((len(made.smiles), 37)) < 0.2,
        "counts": np.arange(len(made.smiles) * 3, dtype=np.int64).reshape(-1, 3),
    }
    members = block.encode(
        made.molecules,
        made.smiles,
        made.texts,
        fingerprints=fingerprints,
        ids=[f"ZINC{row}\u2028x" for row in range(len(made.smiles))],
        tokenizers=tokenizers if with_tokenizers else None,
    )
    rows = _stored(made, members)
    assert sorted(rows.tolist()) == list(range(len(made.smiles)))
    _same(block.decode(members), made.molecules.take(rows))
    assert block.strings(members["text.txt.gz"]) == [made.texts[row] for row in rows]
    assert block.strings(members["id.txt.gz"]) == [f"ZINC{row}\u2028x" for row in rows]
    found = block.fingerprints(members)
    assert found.keys() == fingerprints.keys()
    for name, values in fingerprints.items():
        np.testing.assert_array_equal(found[name], values[rows])
    order = np.random.default_rng(1).permutation(len(rows))
    _same(block.decode(members, order), made.molecules.take(rows[order]))


def test_text_tokens_are_kept_as_words_only_when_they_follow_from_them(made, members, tokenizers):
    """Tokens that another tokenizer made are kept as they are, and come back."""
    assert "text_tokens" not in unpack_arrays(members["tok.npz"])
    values = {name: getattr(made.molecules, name) for name in NAMES}
    other = Molecules(**values | {"text_tokens": made.molecules.text_tokens[::-1].copy()})
    members = block.encode(other, made.smiles, made.texts, tokenizers=tokenizers)
    assert "text_tokens" in unpack_arrays(members["tok.npz"])
    _same(block.decode(members), other.take(_stored(made, members)))


@pytest.mark.parametrize("most", [2, 3, 7, 40])
def test_cut_texts_come_back_cut(zinc, tokenizers, most):
    made = featurize_strings(zinc[:20], tokenizers, RecordConfig(max_text_tokens=most))[0]
    members = block.encode(made.molecules, made.smiles, made.texts, tokenizers=tokenizers)
    assert "text_tokens" not in unpack_arrays(members["tok.npz"])
    _same(block.decode(members), made.molecules.take(_stored(made, members)))


def test_the_order_of_the_rows_and_the_time_change_no_byte(made, members, tokenizers):
    back = np.arange(len(made.smiles))[::-1]
    again = block.encode(
        made.molecules.take(back), made.smiles[::-1], made.texts[::-1], tokenizers=tokenizers
    )
    assert again == members


@st.composite
def _graphs(draw):
    """Molecules whose bonds are any pairs of atoms, in any order: not only what SMILES give."""
    sizes = draw(st.lists(st.integers(0, 6), min_size=1, max_size=6))
    bonds = [
        draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=8)) if n else []
        for n in sizes
    ]
    generator = np.random.default_rng(draw(st.integers(0, 9)))
    n_bonds = np.array([len(some) for some in bonds], np.uint16)
    none = np.zeros(len(sizes), np.uint16)
    return Molecules(
        n_atoms=np.array(sizes, np.uint16),
        n_bonds=n_bonds,
        atoms=generator.integers(0, draw(st.sampled_from([2, 100])), (sum(sizes), 8)).astype(np.int8),
        bonds=generator.integers(0, 3, (int(n_bonds.sum()), 4)).astype(np.int8),
        ends=np.array([pair for some in bonds for pair in some], np.uint16).reshape(-1, 2),
        n_smiles_tokens=none,
        smiles_tokens=none[:0],
        n_text_tokens=none,
        text_tokens=none[:0],
        line=generator.integers(0, draw(st.sampled_from([3, 2**40])), len(sizes)),
        ids=hash_names(_names(len(sizes))),
    )


def _names(count):
    return [f"{row:03d}" for row in range(count)]


@settings(max_examples=100, deadline=None)
@given(molecules=_graphs())
def test_any_graph_can_be_kept(molecules):
    names = _names(len(molecules))
    _same(block.decode(block.encode(molecules, names, [""] * len(names))), molecules)


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
def test_webdataset_alone_opens_a_shard(made, members, tmp_path):
    """The promise to everybody who does not have this project."""
    with webdataset.TarWriter(str(tmp_path / "s.tar"), encoder=False) as tar:
        tar.write({"__key__": "__meta__/schema", "json": b"{}"})
        tar.write({"__key__": "s_b0000", **members})
    (sample,) = list(webdataset.WebDataset(str(tmp_path / "s.tar"), shardshuffle=False).decode())
    rows = _stored(made, members)
    assert sample["text.txt.gz"].splitlines() == [made.texts[row] for row in rows]
    assert sample["graph.npz"]["n_atoms"].tolist() == made.molecules.n_atoms[rows].tolist()
    assert sample["tok.npz"]["smiles_tokens"].tolist() == made.molecules.take(rows).smiles_tokens.tolist()


def test_the_words_definition_in_plain_python(made, members):
    """What `sharding.words` promises to a reader without our code."""
    arrays = unpack_arrays(members["tok.npz"])
    vocabulary = arrays["words"].tobytes().decode().splitlines()
    ids = np.split(arrays["word_ids"], np.cumsum(arrays["word_sizes"])[:-1])
    lookup = dict(zip(vocabulary, ids, strict=True))
    tokens = [
        token
        for text in block.strings(members["text.txt.gz"])
        for token in (START, *(token for word in text.split() for token in lookup[word]), END)
    ]
    assert tokens == block.decode(members).text_tokens.tolist()


@pytest.mark.parametrize("damage", [lambda b: b[:-10], lambda b: b"<html>404</html>", lambda b: b""])
@pytest.mark.parametrize("member", ["graph.npz", "tok.npz", "text.txt.gz"])
def test_a_damaged_member_is_a_broken_block(members, member, damage):
    with pytest.raises(BrokenBlock):
        block.decode(members | {member: damage(members[member])})


@pytest.mark.parametrize("member", ["graph.npz", "tok.npz"])
def test_numbers_that_do_not_fit_together_are_a_broken_block(members, member):
    """Every array of a block, hostile in every way below: refused or harmless, never out of bounds."""
    arrays = unpack_arrays(members[member])
    refused = 0
    for name, array in arrays.items():
        top = np.array(np.iinfo(array.dtype).max, array.dtype)
        hostile = [array[..., :-1], array[:0], np.full_like(array, top), np.zeros_like(array), array[None]]
        hostile += [np.repeat(array, 2, axis=-1), np.full(array.shape, -7, np.int64)]
        for values in hostile:
            changed = {k: np.ascontiguousarray(values) if k == name else v for k, v in arrays.items()}
            try:
                found = block.decode(members | {member: pack_arrays(changed)})
            except BrokenBlock:
                refused += 1
                continue
            assert found.n_atoms.sum() == len(found.atoms)
            assert (found.ends < np.repeat(found.n_atoms, found.n_bonds)[:, None]).all()
            assert found.n_text_tokens.sum() == len(found.text_tokens)
        with pytest.raises(BrokenBlock):
            block.decode(members | {member: pack_arrays({k: v for k, v in arrays.items() if k != name})})
    assert refused > 4 * len(arrays)


def test_texts_that_are_not_those_of_the_tokens_are_a_broken_block(members):
    lines = gzip.decompress(members["text.txt.gz"])
    for changed in (b"", lines[:-1], lines + b"one more\n", lines.replace(b" ", b"", 9), b"\n" * 5000):
        with pytest.raises(BrokenBlock):
            block.decode(members | {"text.txt.gz": gzip.compress(changed)})


def test_a_size_that_lies_is_not_believed(members):
    """Four bytes that claim 4 GB do not make the reader ask for 4 GB."""
    with pytest.raises(BrokenBlock, match="cannot become"):
        block.strings(members["text.txt.gz"][:-4] + b"\xff\xff\xff\xff")


def test_a_pickle_is_never_loaded(members, tmp_path):
    """An object array in a member would run code when loaded; it is a broken block instead."""

    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "canary"), "w"))

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        array = io.BytesIO()
        np.lib.format.write_array(array, np.array([Payload()], object))
        archive.writestr("n_atoms.npy", array.getvalue())
    with pytest.raises(BrokenBlock, match="no array of integers"):
        block.decode(members | {"graph.npz": stream.getvalue()})
    assert not (tmp_path / "canary").exists()


def test_arrays_that_numpy_saved_are_read(tmp_path):
    arrays = {"a": np.arange(5, dtype=np.int16), "b": np.zeros((0, 3), np.uint8), "c": np.array(7)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        found = unpack_arrays((tmp_path / "x.npz").read_bytes())
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("packed", [b"x" * 700, b"<html>" * 200, b"\0" * 1024])
def test_what_is_no_tar_is_a_broken_block(packed):
    with pytest.raises(BrokenBlock, match="no tar header"):
        tar_members(packed)


def test_what_cannot_be_kept_is_refused_when_written(made):
    with pytest.raises(ValueError, match="line break"):
        block.encode(made.molecules, made.smiles, ["two\nlines", *made.texts[1:]])
    values = {name: getattr(made.molecules, name) for name in NAMES}
    with pytest.raises(ValueError, match="below 0"):
        graph_steps.pack(Molecules(**values | {"line": -made.molecules.line - 1}))


def test_a_word_unknown_to_the_table_has_no_tokens():
    learnt = {
        "words": np.frombuffer(b"one\ntwo\n", np.uint8),
        "word_sizes": np.array([1, 2], np.uint8),
        "word_ids": np.array([10, 20, 21], np.uint16),
        "limits": np.array([12, 5], np.uint32),
    }
    tokens, sizes = words.follow(b"two  three one\n\none two two\n", 3, learnt)
    assert tokens.tolist() == [START, 20, 21, 10, END, START, END, START, 10, 20, 21, END]
    assert sizes.tolist() == [5, 2, 5]
