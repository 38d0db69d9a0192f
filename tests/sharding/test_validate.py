"""The validator refuses what is wrong and nothing that is right: the describer's own texts all pass."""

import csv
import gzip
import pickle
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, RDLogger

from sharding.text.chemistry_names import FUNCTIONAL_GROUPS, RING_SYSTEMS
from sharding.text.claims import read_claims
from sharding.text.describe import describe
from sharding.text.evidence import Evidence, Kind, Name, names
from sharding.text.validate import FIELDS, MAX_CHARACTERS, invented_numbers, validate

DATA = Path(__file__).parents[1] / "data"
MESSY = [
    "[H][H]", "[Na+].[Cl-]", "N[Pt](N)(Cl)Cl", "[Fe+2].c1cc[cH-]c1.c1cc[cH-]c1", "O=[Os](=O)(=O)=O", "B",
    "C[N+](C)(C)[O-]", "C[Si](C)(C)O[Si](C)(C)C", "P12P3P1P23", "C12C3C4C1C5C2C3C45", "[Zn+2].[O-]C(C)=O",
    "C1CCCCCCCCCCCCC1", "O=C1CCCCCCCCCCCCCCO1", "O=c1[nH]c(=O)c2[nH]cnc2[nH]1", "[O-][n+]1ccccc1",
    "N#N", "*", "NC(=O)NC(=O)NC(N)=O", "COC(OC)(OC)OC", "C" * 999, "N" + "CC(=O)N" * 240 + "C",
    "c1ccccc1" * 120, "C1CC2(CC1)OCCO2", "F[P-](F)(F)(F)(F)F.CCn1cc[n+](C)c1", "[O-]C(=O)[N-]c1ccccc1",
    "c1ccccc1NC(=[OH+])Nc1ccccc1", "O=S1(=O)CCCN1c1ccc(cc1)C(=O)OC1CCCCC1", "CC(=O)[N-]S(=O)(=O)c1ccccc1",
]  # fmt: skip
ESTER = "CCOC(=O)c1ccc(NC(=O)c2ccncc2)cc1"  # an ester, a secondary amide, a benzene, a pyridine


def real(every: int) -> list[str]:
    with gzip.open(DATA / "zinc_5k.smi.gz", "rt") as lines:
        strings = [line.split()[0] for line in lines]
    for name in ("esol.csv", "bbbp.csv"):
        with (DATA / name).open() as table:
            strings += [row["smiles"] for row in csv.DictReader(table)]
    return strings[::every]


def problems_of_the_describer(strings: list[str]) -> dict[str, list]:
    RDLogger.DisableLog("rdApp.*")
    molecules = {line: Chem.MolFromSmiles(line) for line in strings}
    RDLogger.EnableLog("rdApp.*")
    found = {}
    for line, molecule in molecules.items():
        if molecule is not None and (problems := validate(describe(molecule, line), molecule)):
            found[line] = problems
    return found


def test_the_describer_passes_on_unusual_molecules():
    assert problems_of_the_describer(MESSY) == {}


def test_the_describer_passes_on_every_ring_system():
    assert problems_of_the_describer(list(RING_SYSTEMS.values())) == {}


def test_the_describer_passes_on_real_molecules():
    assert problems_of_the_describer(real(every=8)) == {}


@pytest.mark.slow
def test_the_describer_passes_on_all_real_molecules():
    assert problems_of_the_describer(real(every=1)) == {}


@given(st.lists(st.sampled_from(MESSY[:14] + real(every=97)), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_the_describer_passes_on_mixtures(parts):
    assert problems_of_the_describer([".".join(parts)]) == {}


@given(st.sampled_from(real(every=211)), st.sampled_from(real(every=199)))
@settings(max_examples=100, deadline=None)
def test_a_text_of_another_molecule_is_refused_when_a_group_is_missing(one, other):
    """Every named group counts: the text of one molecule fails on another that lacks a group of it."""
    first, second = Chem.MolFromSmiles(one), Chem.MolFromSmiles(other)
    if first is None or second is None:
        return
    text = describe(first, one)
    evidence = Evidence(second)
    claimed = {name for name, _, denied in read_claims(text.functional_groups) if not denied}
    absent = {name.name for name in claimed if name.kind is Kind.group and not evidence.most(name)}
    found = {problem.detail for problem in validate(text, second) if problem.reason == "absent_group"}
    assert absent <= found


def reasons(sentence: str, smiles: str = ESTER) -> list[str]:
    good = dict.fromkeys(FIELDS, "A molecule of moderate size.")
    return [
        problem.reason
        for problem in validate(good | {"functional_groups": sentence}, Chem.MolFromSmiles(smiles))
    ]


@pytest.mark.parametrize(
    "sentence",
    [
        "A benzene and a pyridine are linked by an amide.",
        "One ester and one secondary amide; no ketones.",
        "An ethyl ester, an aryl amide and a pyridinyl ring.",
        "It lacks halogens, nitro groups and free carboxylic acids.",
        "Ketones are absent; thiols are missing.",
        "Neither a ketone nor an aldehyde.",
        "Without thiols or sulfones, but with an ester.",
        "There are two rings: one phenyl ring and one pyridine ring.",
        "At the 4-position of pyridine, position 1 being nitrogen, sits C4 of an N-acyl chain.",
        "Six rotatable bonds and twenty heavy atoms.",
        "An imidazo-like thing, an aza-indole, an indole-2,3-dione isostere.",  # unknown names are no claims
        "At least one carbonyl, more than one oxygen.",
        "It has no ketones and several acceptors.",
        "A para-disubstituted benzene (2R,3S) of sp2 carbons.",
    ],
)
def test_true_statements_pass(sentence):
    assert reasons(sentence) == []


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("It has a ketone.", "absent_group"),
        ("Two Nitro Groups.", "absent_group"),
        ("It bears a boronate ester.", "absent_group"),
        ("Contains trifluoromethyl.", "absent_group"),
        ("An indole core.", "absent_ring"),
        ("A 1,2,4-triazole.", "absent_ring"),
        ("A cyclohexyl substituent.", "absent_ring"),
        ("It holds fluorine.", "absent_element"),
        ("Two esters.", "wrong_count"),
        ("Three benzene rings.", "wrong_count"),
        ("Seven rotatable bonds.", "wrong_count"),
        ("No hydrogen-bond donors.", "false_denial"),
        ("There is no ester.", "false_denial"),
        ("It lacks an ester.", "false_denial"),
        ("Amides are absent.", "false_denial"),
        ("Weight of 350 Da.", "invented_number"),
        ("A logP of 3.2.", "invented_number"),
        ("A 6-membered ring.", "invented_number"),
        ("A lipophilicity of three point two.", "invented_number"),
        ("It has CF₃.", "invented_number"),
        ("It is toxic.", "banned_word"),
        ("Crosses the blood-brain barrier.", "banned_word"),
        ("A BACE-1 inhibitor.", "banned_word"),
        ("Non-Toxic and water-soluble.", "banned_word"),
        ("From ClinTox.", "banned_word"),
    ],
)
def test_wrong_statements_are_refused(sentence, reason):
    assert reason in reasons(sentence)


@pytest.mark.parametrize(
    "sentence", ["An inactivated label-free-like stearate.", "Zinc, actinium.", "A soluble-ish"]
)
def test_banned_words_are_words(sentence):
    """`inactivated` is no `active`; a hyphen does end a word."""
    assert ("banned_word" in reasons(sentence)) == any(w in sentence for w in ("label", "soluble"))


def test_two_of_a_kind_must_all_be_told_unless_the_sentence_says_there_are_others():
    diester = "COC(=O)CCC(=O)OC"
    assert reasons("One ester.", diester) == ["wrong_count"]
    assert reasons("One ester here, another ester there.", diester) == []
    assert reasons("One methyl ester and one further ester.", diester) == []
    assert reasons("A diester of which one ester is terminal.", diester) == []
    assert reasons("Two esters.", diester) == []


def test_a_count_may_be_read_narrowly_or_widely():
    """A lactone beside an ester: one ester to the describer's table, two to a chemist."""
    both = "CCOC(=O)C1CCOC1=O"
    assert reasons("One ester and one lactone.", both) == []
    assert reasons("Two esters.", both) == []
    assert reasons("Three esters.", both) == ["wrong_count"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "wrong_keys"),
        (dict.fromkeys(FIELDS[:2], "Fine words."), "wrong_keys"),
        (dict.fromkeys((*FIELDS, "logp"), "Fine words."), "wrong_keys"),
        (dict.fromkeys(FIELDS, "Fine words.") | {"core_scaffold": ["benzene"]}, "not_text"),
        (dict.fromkeys(FIELDS, "Fine words.") | {"core_scaffold": None}, "not_text"),
        (dict.fromkeys(FIELDS, "Fine words.") | {"core_scaffold": " . "}, "empty"),
        (
            dict.fromkeys(FIELDS, "Fine words.") | {"core_scaffold": "a" * (MAX_CHARACTERS + 1)},
            "too_long",
        ),
        (dict.fromkeys(FIELDS, "Fine words.") | {"core_scaffold": "a \ud800 b"}, "unprintable"),
        (dict.fromkeys(FIELDS, "Fine words.") | {"core_scaffold": "a \x00 b"}, "unprintable"),
    ],
)
def test_the_form(fields, reason):
    assert [problem.reason for problem in validate(fields, Chem.MolFromSmiles("CCO"))] == [reason]


@pytest.mark.parametrize("name", [*RING_SYSTEMS, *(group.name for group in FUNCTIONAL_GROUPS)])
def test_every_name_of_the_tables_is_read_as_itself(name):
    """The longest name wins, singular and with a count; its locants are no numbers."""
    (claim,) = read_claims(f"It holds two {name}.")
    assert (claim.name.name, claim.number, claim.denied) == (name, 2, False)
    assert invented_numbers(f"It holds one {name}, and ({name}).") == []


def test_every_pattern_parses():
    methane = Evidence(Chem.MolFromSmiles("C"))
    assert {name for name in set(names().values()) if methane.most(name)} <= {
        Name(Kind.quantity, "heavy atom"),
        Name(Kind.quantity, "separate component"),
        Name(Kind.group, "methyl"),
    }


def test_a_molecule_that_was_pickled_is_read_too():
    """Pickling loses what RDKit knows of stereochemistry, and counting stereocentres would raise."""
    molecule = pickle.loads(pickle.dumps(Chem.MolFromSmiles("C[C@H](N)C(=O)O")))
    good = dict.fromkeys(FIELDS, "One stereocentre.")
    assert validate(good, molecule) == []


LOCANT = st.integers(1, 25).map(str)


@given(st.lists(LOCANT, min_size=1, max_size=4), st.sampled_from(["triazole", "pyridyl", "methylpropyl"]))
def test_locants_before_a_name_are_no_numbers(locants, name):
    assert invented_numbers(f"a {','.join(locants)}-{name} group") == []
    assert invented_numbers(f"a ({','.join(locants)}-{name}) group") == []


@given(st.lists(LOCANT, min_size=1, max_size=3), st.sampled_from(["one", "dione", "ol", "carboxylate"]))
def test_locants_inside_a_name_are_no_numbers(locants, suffix):
    assert invented_numbers(f"a pyridin-{','.join(locants)}-{suffix} core") == []


@given(
    st.one_of(st.integers(0, 10**6).map(str), st.floats(0.01, 999).map(lambda number: f"{number:.2f}")),
    st.sampled_from(
        ["of {}", "{} Da", "{}%", "about {}.", "({})", "{}-membered", "{}-fold", "logP={}", "logP {}", "x{}y"]
    ),
)
def test_numbers_are_numbers(number, around):
    assert invented_numbers(f"a value {around.format(number)}")


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_judged(sentence):
    assert isinstance(reasons(sentence), list)


@given(st.lists(st.sampled_from([*names(), "no", "two", "without", "-", "and", "1,2-", ";"]), max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_heap_of_names_is_judged(words):
    assert isinstance(reasons(" ".join(words)), list)


def test_letters_alone_are_never_numbers():
    assert invented_numbers(string.ascii_letters) == []
