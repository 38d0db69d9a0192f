import re

import numpy as np
import pytest
from transformers import AutoTokenizer

from sharding.errors import UserError
from sharding.molecule import parse
from sharding.text.describe import describe
from sharding.tokens import DEFAULT, END, SMILES_SYMBOL, START, TokenizerFolder, Tokenizers


@pytest.fixture(scope="module")
def pair():
    return Tokenizers.load()


def test_the_smiles_expression_loses_no_character(zinc):
    for smiles in zinc:
        assert "".join(re.findall(SMILES_SYMBOL, smiles)) == smiles


def test_the_default_pair_knows_zinc(pair, zinc):
    """Not one word piece unknown, and SMILES symbols unknown in fewer than one molecule of a thousand."""
    texts = [describe(parse(s, max_atoms=255, max_characters=2000), s).text for s in zinc[:300]]
    assert pair.text.encode(texts, 512).unknown == 0
    assert pair.smiles.encode(zinc, 512).unknown < len(zinc) / 1000


def test_ids_are_those_of_hugging_face(pair, zinc):
    """The folder opens with AutoTokenizer, offline, and gives the same ids."""
    theirs = AutoTokenizer.from_pretrained(str(DEFAULT / "smiles"))
    ours = pair.smiles.encode(zinc[:50], 512)
    assert ours.ids.tolist() == [i for row in theirs(zinc[:50])["input_ids"] for i in row]
    assert theirs.pad_token_id == 0


def test_pieces_are_the_librarys_ids(pair, zinc):
    """The fast way on strings beyond the probes, and on ones that no vocabulary has seen."""
    texts = [describe(parse(s, max_atoms=255, max_characters=2000), s).text for s in zinc[:200]]
    for folder, strings in (
        (pair.smiles, [*zinc, "[Xx]CC"]),
        (pair.text, [*texts, "Ein Molek\u00fcl (neu),so-so."]),
    ):
        assert folder._join(strings) == folder._library(strings)


def test_a_tokenizer_of_another_make_is_left_to_the_library(pair, zinc):
    """Pieces cut at the wrong places give other ids; the probes notice, and the library's ids stand."""
    folder = TokenizerFolder(DEFAULT / "smiles", lambda smiles: [smiles[:3], smiles[3:]])
    assert folder.encode(zinc[:100], 512).ids.tolist() == pair.smiles.encode(zinc[:100], 512).ids.tolist()
    assert folder._by_pieces is False


def test_a_cut_string_keeps_both_markers(pair):
    tokens = pair.smiles.encode(["C" * 50, "CO"], 10)
    assert tokens.lengths.tolist() == [10, 4]
    assert tokens.cut == 1
    rows = np.split(tokens.ids, [10])
    assert all(row[0] == START and row[-1] == END for row in rows)


def test_a_folder_that_is_no_tokenizer_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        TokenizerFolder(tmp_path, str.split)
