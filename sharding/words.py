"""Text tokens that follow from the text: a block keeps its distinct words instead of every token.

    texts, their tokens, the tokenizer  ->  the words' bytes and ids, when those give every token back
    lines, words  ->  tokens (t,), sizes (m,)
A text's tokens are START, the ids of its words between blanks, END; a text with more than `most` keeps `most`,
the last being END. A word that is not among them has no ids. A tokenizer that does not treat words one by one
is noticed when the block is made, and its tokens are kept as they are.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sharding.archive import BrokenBlock
from sharding.columns import offsets
from sharding.tokens import END, START, TokenizerFolder

KINDS = {"words": np.uint8, "word_sizes": np.uint8, "word_ids": np.uint16, "limits": np.uint32}
"""Arrays of `tok.npz`: bytes, a line each; how many tokens each has; their ids; [tokens in all, most]."""
MOST_BYTES = 1 << 22
"""Bytes of all words together: 200 times what a block of 4,096 descriptions needs."""
BLANK, LINE_FEED = 32, 10

Tokens = tuple[NDArray[np.integer], NDArray[np.integer]]


def learn(lines: str, tokens: Tokens, tokenizer: TokenizerFolder) -> dict[str, NDArray[Any]] | None:
    """The arrays of `KINDS`, or None when these tokens do not follow from the words."""
    distinct = sorted(set(lines.split()))
    found = tokenizer.encode(distinct, most=1 << 16)
    inner, bounds = np.ones(len(found.ids), bool), offsets(found.lengths)
    inner[bounds[:-1]] = inner[bounds[1:] - 1] = False  # the end markers of every word
    flat, sizes = tokens
    learnt: dict[str, NDArray[Any]] = {
        "words": np.frombuffer("".join(f"{word}\n" for word in distinct).encode(), np.uint8),
        "word_sizes": found.lengths - np.uint16(2),
        "word_ids": found.ids[inner],
        "limits": np.array([len(flat), sizes.max(initial=0)], np.uint32),
    }
    try:
        same = all(map(np.array_equal, follow(lines.encode(), len(sizes), learnt), tokens))
    except BrokenBlock:
        return None
    return learnt if same else None


def follow(lines: bytes, rows: int, learnt: Mapping[str, NDArray[Any]]) -> Tokens:
    """The tokens of every line. Raises `BrokenBlock` when they are not as many as promised."""
    words, word_sizes, ids = learnt["words"], learnt["word_sizes"].astype(np.int64), learnt["word_ids"]
    if any(array.ndim != 1 for array in learnt.values()) or len(learnt["limits"]) != 2:
        raise BrokenBlock("arrays of other shapes than those of words")
    total, most = (int(limit) for limit in learnt["limits"])
    ends = np.flatnonzero(words == LINE_FEED)
    if (
        len(words) > MOST_BYTES
        or len(words) != (ends[-1] + 1 if len(ends) else 0)
        or (len(ends), word_sizes.sum()) != (len(word_sizes), len(ids))
        or not rows * 2 <= total <= rows * most <= rows * 65535
    ):
        raise BrokenBlock("words that do not fit together")
    tokens, sizes = np.empty(total, np.uint16), np.empty(rows, np.uint16)
    text = np.frombuffer(lines, np.uint8)
    if not _fill(text, *_table(words, offsets(word_sizes)), ids, most, tokens, sizes):
        raise BrokenBlock("text tokens are not as many as promised")
    return tokens, sizes


@njit(cache=True, nogil=True)
def _add(hashed, byte):  # type: ignore[no-untyped-def]
    """Three cycles; words of up to eight bytes cannot collide, and `learn` notices longer ones that do."""
    return (hashed << np.uint64(8)) + hashed + np.uint64(byte)


@njit(cache=True, nogil=True)
def _slot(hashed, keys):  # type: ignore[no-untyped-def]
    """Where a word is, or an empty place; three of four are empty."""
    slot = np.int64((hashed * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & (len(keys) - 1)
    while keys[slot] != hashed and keys[slot] != 0:
        slot = (slot + 1) & (len(keys) - 1)
    return slot


@njit(cache=True, nogil=True)
def _table(words, begins):  # type: ignore[no-untyped-def]
    """Words by hash, open addressing; a word's ids are first ... last - 1."""
    room = 64
    while room < 4 * len(begins):
        room *= 2
    keys, first, last = np.zeros(room, np.uint64), np.zeros(room, np.int32), np.zeros(room, np.int32)
    hashed, word = np.uint64(0), 0
    for byte in words:
        if byte != LINE_FEED:
            hashed = _add(hashed, byte)
            continue
        if hashed:  # an empty word would take the empty places' key
            slot = _slot(hashed, keys)
            keys[slot], first[slot], last[slot] = hashed, begins[word], begins[word + 1]
        hashed, word = np.uint64(0), word + 1
    return keys, first, last


@njit(cache=True, nogil=True)
def _fill(lines, keys, first, last, ids, most, tokens, sizes):  # type: ignore[no-untyped-def]
    """Tokens and sizes of a text each line; False, and nothing written out of bounds, when they do not fit.

    The words of a line are hashed first and looked up then: two plain loops are faster than one that does both.
    """
    hashes = np.empty(len(lines), np.uint64)
    place, begin = 0, 0
    for row in range(len(sizes)):
        count, hashed, ended = 0, np.uint64(0), False
        while place < len(lines) and not ended:
            byte = lines[place]
            place += 1
            if byte > BLANK:
                hashed = _add(hashed, byte)
            else:
                hashes[count] = hashed
                count, hashed, ended = count + 1, np.uint64(0), byte == LINE_FEED
        at = begin + 1
        for word in range(count):
            slot = _slot(hashes[word], keys)
            for token in range(first[slot], last[slot]):
                if at < len(tokens):
                    tokens[at] = ids[token]
                at += 1
        end = min(at + 1, begin + most)
        if not ended or end > len(tokens):
            return False
        tokens[begin], tokens[end - 1], sizes[row] = START, END, end - begin
        begin = end
    return place == len(lines) and begin == len(tokens)
