"""What the language model is asked, and what is taken of its answer.

    canonical SMILES, the describer's text  ->  conversation: [{"role": "user", "content": ...}]
    answer, any text  ->  {"core_scaffold": ..., "physicochemical_profile": ..., "functional_groups": ...}

LGM-CL (arXiv 2601.22610) asks Mistral-7B-Instruct for JSON with these keys; its prompt is not published, so
the words are ours. Ours also hands over what RDKit found, for a 7B model miscounts rings in a SMILES; it is
left to word it. One user turn, no system turn: Mistral's first chat templates refuse one.
"""

import json
from collections.abc import Iterator
from typing import Any

from sharding.text.validate import FIELDS

PROMPT_VERSION = 1
"""Raised with any change of the words below: answers to other words are other texts."""
MAX_ANSWER_CHARACTERS = 16_000
MAX_OBJECTS = 64
"""Opening braces that are tried: bounds the work on an answer of nothing but braces."""

INSTRUCTION = """\
You are an organic chemist. Describe one molecule in your own words.

Answer with one JSON object and nothing else. It has exactly these three keys, each with a string of one or \
two sentences:
"core_scaffold": the ring systems, or the carbon skeleton where there is no ring, and how they are joined;
"physicochemical_profile": size, lipophilicity, polarity, hydrogen bonding, flexibility and charge, in words;
"functional_groups": the functional groups, with their counts in words.

Rules:
- Use the facts only. Name no ring system and no group that they do not name.
- Write no digits, except locants that are part of a chemical name, as in 1,2,4-triazole.
- Say nothing of biology, medicine, safety, dissolution, uses, data sets or predictions.
- No line breaks inside a string, no markdown, no further keys.

SMILES: {smiles}
Facts computed from the structure: {facts}"""
"""What is the same for every molecule comes first: a server that caches prefixes reads it once."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {name: {"type": "string", "minLength": 8} for name in FIELDS},
    "required": list(FIELDS),
    "additionalProperties": False,
}
Conversation = list[dict[str, str]]


class Refused(Exception):
    """An answer that is no text view. `reason` is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def conversation(smiles: str, facts: str) -> Conversation:
    """The one turn."""
    return [{"role": "user", "content": INSTRUCTION.format(smiles=smiles, facts=facts)}]


def extract(answer: str) -> dict[str, object]:
    """The first JSON object with exactly the three keys, code fences and prose around it ignored.

    `Refused`: `not_json` without any object, `wrong_keys` where no object has just these keys, once each.
    """
    found = False
    for pairs in _objects(answer[:MAX_ANSWER_CHARACTERS]):
        found = True
        if len(pairs) == len(FIELDS) and {key for key, _ in pairs} == set(FIELDS):
            return dict(pairs)
    raise Refused("wrong_keys" if found else "not_json")


class _Pairs(list[tuple[str, object]]):
    """An object as it was written: a dictionary would hide a key given twice."""


def _objects(text: str) -> Iterator[_Pairs]:
    """JSON objects, outermost only, in order."""
    decoder = json.JSONDecoder(object_pairs_hook=_Pairs, strict=False)
    position = -1
    for _ in range(MAX_OBJECTS):
        position = text.find("{", position + 1)
        if position < 0:
            return
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):  # prose in braces; braces in braces in braces
            continue
        yield value
        position = end - 1
