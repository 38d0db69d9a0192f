"""The validator: may these three sentences stand as the text view of this molecule?

    fields, molecule  ->  problems, none of them when the text is good; the first names the reason
It guards both writers, the describer and the language model. What it refuses:
    wrong_keys, not_text, empty, too_long, unprintable     the form
    invented_number    a digit that is no locant (`1,2,4-triazole`, `N-2`, `[2.2.1]` are), a measured value
    banned_word        what a downstream label is about: a text that says `toxic` has told the answer
    absent_group, absent_ring, absent_element, wrong_count, false_denial     what RDKit contradicts; see `claims`

LGM-CL (arXiv 2601.22610) has Mistral-7B-Instruct write JSON with `core_scaffold`, `physicochemical_profile`
and `functional_groups`, forbids invented numbers and names of tasks in the prompt, and believes the answer.
Here the answer is checked, because a prompt is a wish and a shard is read for years.
"""

import re
from collections.abc import Mapping

from rdkit import Chem

from sharding.text.claims import Problem, check_claims
from sharding.text.describe import Description
from sharding.text.evidence import Evidence

VALIDATOR_VERSION = 1
"""Raised when a text could be judged otherwise than before: cached judgements are then made anew."""
FIELDS = ("core_scaffold", "physicochemical_profile", "functional_groups")
MAX_CHARACTERS = 1500
"""Of one field. The describer's longest among the molecules of the tests has 540."""

_LOCANT = r"\d{1,2}[a-z]?'{0,2}H?"
_LOCANTS = rf"(?:{_LOCANT})(?:,(?:{_LOCANT}))*"
NOT_A_NAME = (
    r"(?:member(?:ed)?|fold|rings?|ringed|atoms?|carbons?|heteroatoms?|heavy|components?|daltons?|k?da|percent|"
    r"units?|steps?|bonds?|log|mer|points?|dimensional|electrons?|donors?|acceptors?|ppm|mol|mg|angstroms?|nm|"
    r"of|or|and|to)\b"
)
"""What follows a hyphen where the number before it counts or measures: `6-membered`, `350-dalton`."""
LOCANTS = re.compile(
    r"(?<![\d.])(?:"
    # 2-pyridyl, 1,2,4-triazole, 3a,4-dihydro, 1H-indole, 4-(2-thienyl), 4-[...
    rf"(?<![\w+]){_LOCANTS}-(?!(?i:{NOT_A_NAME}))(?=[A-Za-z(\[])"
    # pyridin-2-one, gon-4-en-3-one
    rf"|(?<=[A-Za-z\])]-){_LOCANTS}(?=-(?!(?i:{NOT_A_NAME}))[a-z])"
    # bicyclo[2.2.1], imidazo[1,2-a], [1,2,4]triazolo, spiro[4.5]
    r"|(?<=[a-z])\[\d{1,2}(?:[.,]\d{1,2})*(?:-[a-z]{1,2})?\]|\[\d{1,2}(?:,\d{1,2})+(?:-[a-z])?\](?=[a-z])"
    # N-2, C4, O6: an atom by its number
    r"|(?<![\w.+-])[CNOSP]-?\d{1,2}(?![\w.%])"
    # position 4, positions 2 and 5
    r"|(?<=position )\d{1,2}(?![\w.])|(?<=positions )\d{1,2}(?:, \d{1,2})*(?:,? and \d{1,2})?(?![\w.])"
    # sp2 carbon; (2R,3S)
    r"|(?<=\bsp)[23]?(?=\W|$)|(?<=\()\d{1,2}[a-z]?[RSEZ](?:,\d{1,2}[a-z]?[RSEZ])*(?=\))"
    r")"
)
MEASURED = re.compile(
    r"\bpoint (?:zero|one|two|three|four|five|six|seven|eight|nine)\b|\bdaltons?\b|%|\bper ?cent\b"
)
"""Values that no digit betrays."""
BANNED = re.compile(
    r"\b(?:"
    # effects that are somebody's label
    r"(?:non|cyto|hepato|cardio|geno|neuro|nephro|eco|photo)?toxi(?:c\w*|n|ns)|mutagen\w*|carcinogen\w*|"
    r"(?:in)?solubl\w+|(?:in)?solubilit\w+|solvation|hydration free energy|permea\w+|impermeab\w+|penetra\w+|"
    r"bio-?availab\w+|metaboli\w+|side[- ]effects?|adverse|(?:in|bio|re)?activ(?:e|ity|ities)|poten(?:t|cy)|"
    r"affinit(?:y|ies)|bind(?:s|er|ers|ing)|inhibit\w*|\w*agonis\w+|ic50|ec50|pic50|pka|"
    # where they are measured
    r"bbbp?|blood[- ]brain|brain|barriers?|cns|hiv|aids|bace\w*|(?:beta-)?secretases?|receptors?|kinases?|"
    r"proteases?|enzymes?|proteins?|targets?|"
    # for what
    r"(?:non-?)?drug\w*|lead-like|pharma\w*|therap\w+|clinical\w*|medicin\w+|fda|admet?|qsar|"
    r"anti-?(?:viral|bacterial|biotic|biotics|microbial|cancer|tumou?r|fungal|inflammatory|depressant)s?|"
    # data sets and tasks
    r"clintox|tox21|toxcast|sider|esol|freesolv|lipo|muv|qm[789]|pcba|pdbbind|moleculenet|chembl|pubchem|"
    r"zinc(?:15|20|250k)|zinc data\w*|data ?-?sets?|benchmarks?|labels?|tasks?|predict\w*|classif\w+"
    r")\b",
    re.IGNORECASE,
)
"""Whole words, so that `inactivated`, an element's name or `stearate` never trips."""


def validate(fields: Mapping[str, object] | Description, molecule: Chem.Mol) -> list[Problem]:
    """Everything that is wrong; form first, and nothing more where the form is wrong."""
    if isinstance(fields, Description):
        fields = {name: getattr(fields, name) for name in FIELDS}
    problems = check_form(fields)
    if problems:
        return problems
    evidence = Evidence(molecule)
    for name in FIELDS:
        sentence = " ".join(str(fields[name]).split()).translate(HYPHENS)
        problems += check_words(sentence)
        problems += check_claims(sentence, evidence)
    return problems


HYPHENS = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"))


def check_form(fields: Mapping[str, object]) -> list[Problem]:
    """Three keys, each with a sentence that can be stored."""
    if set(fields) != set(FIELDS):
        return [Problem("wrong_keys", ", ".join(sorted(map(str, fields)))[:200])]
    problems = []
    for name in FIELDS:
        value = fields[name]
        if not isinstance(value, str):
            problems.append(Problem("not_text", f"{name} is a {type(value).__name__}"))
        elif not any(map(str.isalpha, value)):
            problems.append(Problem("empty", name))
        elif len(value) > MAX_CHARACTERS:
            problems.append(Problem("too_long", f"{name}: {len(value)} characters"))
        elif not " ".join(value.split()).isprintable():  # control characters, lone surrogates
            problems.append(Problem("unprintable", name))
    return problems


def check_words(sentence: str) -> list[Problem]:
    """Numbers and words that no text may hold, whatever the molecule."""
    problems = [Problem("banned_word", match[0].lower()) for match in BANNED.finditer(sentence)]
    problems += [Problem("invented_number", number) for number in invented_numbers(sentence)]
    return problems


def invented_numbers(sentence: str) -> list[str]:
    """What is left of digits when locants are taken out, and values in words."""
    rest = LOCANTS.sub(" ", sentence)
    digits = [word for word in rest.split() if any(map(str.isnumeric, word))]
    return digits + [match[0] for match in MEASURED.finditer(sentence.lower())]
