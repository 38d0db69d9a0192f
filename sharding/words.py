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
SPARE = 4
"""Tokens that are copied of a word without asking how many it has."""
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
    hashes, stops = np.empty(len(lines) + 1, np.uint64), np.empty(rows, np.int64)
    tokens, sizes = np.empty(total + SPARE, np.uint16), np.empty(rows, np.uint16)
    table, padded = _table(words, offsets(word_sizes)), np.append(ids, np.zeros(SPARE, np.uint16))
    fits = _hash_lines(np.frombuffer(lines, np.uint8), hashes, stops)
    if not fits or not _fill(hashes, stops, table, padded, most, tokens, sizes):
        raise BrokenBlock("text tokens are not as many as promised")
    return tokens[:total], sizes


@njit(cache=True, nogil=True)
def _add(hashed, byte):  # type: ignore[no-untyped-def]
    """Two cycles; words of nine letters cannot collide, and `learn` notices longer ones that do."""
    return ((hashed << np.uint64(7)) | (hashed >> np.uint64(57))) ^ np.uint64(byte)


@njit(cache=True, nogil=True)
def _find(hashed, table):  # type: ignore[no-untyped-def]
    """(the word's place in the table or an empty one, what tells it from others); three of four are empty."""
    mixed = hashed * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    name = mixed << np.uint64(32) | np.uint64(1 << 32)
    slot = np.int64(mixed >> np.uint64(32)) & (len(table) - 1)
    while table[slot] and (table[slot] ^ name) >> np.uint64(32):
        slot = (slot + 1) & (len(table) - 1)
    return slot, name


@njit(cache=True, nogil=True)
def _table(words, begins):  # type: ignore[no-untyped-def]
    """Open addressing: the upper half tells words apart, below are 24 bits of first id and 8 of how many."""
    room = 64
    while room < 4 * len(begins):
        room *= 2
    table = np.zeros(room, np.uint64)
    hashed, word = np.uint64(0), 0
    for byte in words:
        if byte != LINE_FEED:
            hashed = _add(hashed, byte)
            continue
        slot, name = _find(hashed, table)
        table[slot] = name | np.uint64(begins[word] << 8) | np.uint64(begins[word + 1] - begins[word])
        hashed, word = np.uint64(0), word + 1
    return table


@njit(cache=True, nogil=True)
def _hash_lines(lines, hashes, stops):  # type: ignore[no-untyped-def]
    """Fill the hashes of all words and where each line's end; False when the lines are others than `stops`.

    Without a branch at the end of a word, which no processor foresees: a third of the time.
    """
    count, row, hashed = np.int64(0), 0, np.uint64(0)
    for byte in lines:
        hashes[count] = hashed
        ends = np.uint64(byte <= BLANK)
        count += np.int64(ends)
        hashed = _add(hashed, byte) & (ends - np.uint64(1))
        if byte == LINE_FEED:
            if row == len(stops):
                return False
            stops[row] = count
            row += 1
    return row == len(stops) and (len(lines) == 0 or lines[-1] == LINE_FEED)


@njit(cache=True, nogil=True)
def _fill(hashes, stops, table, ids, most, tokens, sizes):  # type: ignore[no-untyped-def]
    """Tokens and sizes of each line; False, and nothing written out of bounds, when they do not fit.

    A word is nearly always of up to SPARE tokens: so many are written, and the next overwrite what is too much.
    """
    room = len(tokens) - SPARE
    begin, word = np.int64(0), np.int64(0)
    for row in range(len(sizes)):
        at, last = begin + 1, min(begin + most, room)
        for place in range(word, stops[row]):
            entry = table[_find(hashes[place], table)[0]]
            first, count = np.int64(entry >> np.uint64(8)) & 0xFFFFFF, np.int64(entry) & 0xFF
            if at < last:
                for token in range(SPARE):
                    tokens[at + token] = ids[first + token]
                for token in range(SPARE, min(count, last - at)):
                    tokens[at + token] = ids[first + token]
            at += count
        word = stops[row]
        end = min(at + 1, begin + most)
        if end > room:
            return False
        tokens[begin], tokens[end - 1], sizes[row] = START, END, end - begin
        begin = end
    return begin == room
