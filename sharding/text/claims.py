"""What a sentence claims of a molecule, held against the molecule.

    sentence  ->  claims: a name, how many of it (or no number), and whether the sentence denies it
    claims, molecule  ->  problems: absent_group, absent_ring, absent_element, wrong_count, false_denial

LGM-CL (arXiv 2601.22610) takes its language model's word for scaffold and groups. Here each name that
`evidence` knows is matched by RDKit, because a group that is not there is a wrong positive. The longest name
wins: `boronate ester` says nothing of an ester. An unknown name is no claim: this proves statements wrong,
never right.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from sharding.text.chemistry_names import in_words
from sharding.text.evidence import Evidence, Kind, Name, names


class Claim(NamedTuple):
    """`two esters`: number 2. `an ester`: no number. `no ester`: denied."""

    name: Name
    number: int | None
    denied: bool


class Problem(NamedTuple):
    """A named reason, and the words that gave it."""

    reason: str
    detail: str


NUMBERS = {in_words(number): number for number in range(1, 1000)} | {"single": 1}
DENIAL = re.compile(
    r"\b(?:no|not|without|lack|lacks|lacking|nor|neither|never|free of|free from|absence of|devoid of)\b"
)
END_OF_DENIAL = re.compile(
    r"[.;:()]|\b(?:an?|the|but|with|while|whereas|although|though|however|except|only|other than|besides|"
    r"bears?|bearing|has|have|having|contains?|containing|holds?|shows?|features?|is|are|several|some|many|multiple|few)\b"
)
DENIED_AFTER = re.compile(r"[\w\s-]{0,20}?\b(?:(?:is|are) (?:absent|missing|not)|(?:absent|missing))\b")
BETWEEN = re.compile(
    r"(?!(?:and|or|of|with|by|to|in|on|at|as|from|that|which|is|are|has|have|times|rings?|atoms?)\b)"
    r"(?!\w+ing\b)[a-z][\w'-]*"
)
"""A word that may stand between a number and what it counts: `two terminal esters`."""
BOUNDED = ("more than", "at least", "at most", "fewer than", "less than", "up to")
START = re.compile(r"(?<![\w\]'])(?<!\d,)[a-z0-9\[]")
"""A name starts here: after a space, a bracket or a hyphen, not within a word or a list of locants."""
PREFIX = re.compile(r"(?:[a-z]*[ao\]]|non|ylidene|oxidised|\])-$")
"""Before a name, these make another one of it: `aza-`, `imidazo-`, `oxo-`, `thieno[2,3-d]-`."""
SUFFIX = re.compile(r"-(?:\d+h?,?)+-(?:di|tri)?(?:one|thione|imine|ol|amine|ium)|-like|-free|\[")
"""Likewise behind it: `indole-2,3-dione`."""
VAGUE = re.compile(
    r"\b(?:others?|further|additional|another|more|several|multiple|each|per|least|which|whose)\b"
)
"""With one of these in a sentence, its numbers need not add up to all there are."""


@cache
def _by_beginning() -> dict[str, list[str]]:
    """Forms by their first two characters, longest first."""
    forms: defaultdict[str, list[str]] = defaultdict(list)
    for form in sorted(names(), key=len, reverse=True):
        forms[form[:2]].append(form)
    return forms


def read_claims(sentence: str) -> Iterator[Claim]:
    """In the order of the sentence, which is expected with single spaces."""
    text = sentence.lower()
    past = 0
    for start in (match.start() for match in START.finditer(text)):
        if start < past:
            continue
        form = next(
            (
                form
                for form in _by_beginning().get(text[start : start + 2], ())
                if text.startswith(form, start) and not text[start + len(form) :][:1].isalnum()
            ),
            None,
        )
        if form is None:
            continue
        before, past = past, start + len(form)
        prefix = re.search(r"\S*$", text[:start])
        if (prefix and PREFIX.search(prefix[0])) or SUFFIX.match(text, past):
            continue
        count = _count(text[before:start])
        yield Claim(names()[form], count, count is None and _denied(text, start, past))


def _count(before: str) -> int | None:
    """The number that ends `before`, with up to two describing words behind it."""
    words = before.split(" ")
    if words.pop():  # glued to the name by a hyphen: `para-`, `2-`
        return None
    for describing in range(3):
        end = len(words) - describing
        for length in range(min(5, end), 0, -1):
            number = NUMBERS.get(" ".join(words[end - length : end]).lstrip("("))
            if number is not None:
                bounded = end - length > 1 and " ".join(words[end - length - 2 : end - length]) in BOUNDED
                return None if bounded else number
        if end < 1 or not BETWEEN.fullmatch(words[end - 1]):
            return None
    return None


def _denied(text: str, start: int, end: int) -> bool:
    """Whether a `no`, `without`, `lacks` reaches this far, or an `are absent` comes back to it."""
    if DENIED_AFTER.match(text, end):
        return True
    denials = list(DENIAL.finditer(text, 0, start))
    if not denials:
        return False
    between = text[denials[-1].end() : start].strip()
    return not END_OF_DENIAL.search(re.sub(r"^(?:an?|any|the|contain|bear|have|hold)\b", "", between))


def check_claims(sentence: str, evidence: Evidence) -> list[Problem]:
    """What the sentence says of the molecule that is not so."""
    claims = list(read_claims(sentence))
    problems, told = [], defaultdict[Name, int](int)
    for name, number, denied in claims:
        most = evidence.most(name)
        if denied:
            least = evidence.least(name)
            if most if least is None else least:
                problems.append(Problem("false_denial", f"no {name.name}"))
        elif name.kind is Kind.quantity:
            if number not in (None, most):
                problems.append(Problem("wrong_count", f"{number} x {name.name}"))
        elif not most:
            problems.append(Problem(f"absent_{name.kind}", name.name))
        elif number is not None:
            told[name] += number
    for name, count in told.items():
        if count > evidence.most(name) or _undercounted(name, count, sentence, claims, evidence):
            problems.append(Problem("wrong_count", f"{count} x {name.name}"))
    return problems


def _undercounted(name: Name, count: int, sentence: str, claims: Sequence[Claim], evidence: Evidence) -> bool:
    """Fewer than there are by the narrow reading, in a sentence that seems to give them all."""
    text = sentence.lower()
    mentioned = sum(claim.name == name for claim in claims)
    complete = not VAGUE.search(text) and text.count(name.name.lower()) <= mentioned  # no `oxo-` of it
    return complete and count < (evidence.least(name) or 0)
