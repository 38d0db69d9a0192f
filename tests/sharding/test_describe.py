"""The describer says only what RDKit says: its text is read back and compared, molecule by molecule."""

import csv
import gzip
import os
import random
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, RDLogger
from rdkit.Chem import rdMolDescriptors

from sharding.text.chemistry_names import (
    FLEXIBILITY_BANDS,
    FUNCTIONAL_GROUPS,
    LIPOPHILICITY_BANDS,
    POLARITY_BANDS,
    RING_SYSTEMS,
    SATURATION_BANDS,
    SIZE_BANDS,
    element,
    in_words,
)
from sharding.text.describe import Description, describe

DATA = Path(__file__).parents[1] / "data"
NUMBERS = {in_words(number): number for number in range(1000)}
NASTY = [
    "[H][H]", "[H+]", "[2H]O[2H]", "[2H]C([2H])([2H])c1ccccc1", "[He]", "[U]", "*", "*c1ccc(*)cc1", "[*]C=O",
    "[Na+].[Cl-]", "[NH4+].[O-]S(=O)(=O)[O-].[NH4+]", "N[Pt](N)(Cl)Cl", "[NH3]->[Pt](<-[NH3])(Cl)Cl",
    "[CH3]", "[CH2]c1ccccc1", "[O][O]", "C[N+](C)(C)[O-]", "[13CH4]", "[C-]#[O+]", "C=[N+]=[N-]",
    "F[P-](F)(F)(F)(F)F.CCn1cc[n+](C)c1", "[Fe+2].c1cc[cH-]c1.c1cc[cH-]c1", "O=[Os](=O)(=O)=O", "[Li]CCCC",
    "B", "[BH4-].[Na+]", "C[Si](C)(C)O[Si](C)(C)C", "O=S(=O)=O", "S1SSSSSSS1", "P12P3P1P23",
    "C12C3C4C1C5C2C3C45", "C1CC2(C1)CC2", "C1CC12CC2", "C1CCC2(CC1)OCCO2", "C1C2CC3CC1CC(C2)C3",
    "c1ccc2c(c1)c1ccccc1c1ccccc21", "C1CCCCCCCCCCCCC1", "O=C1CCCCCCCCCCCCCCO1", "c1ccccc1C(c1ccccc1)c1ccccc1",
    "C1CCCCC1=C1CCCCC1", "N#N", "[O-][n+]1ccccc1", "O=[N+]([O-])O", "OC(=O)O", "NC(=O)NC(=O)NC(N)=O",
    "FC(F)(F)F", "O=c1[nH]c(=O)c2[nH]cnc2[nH]1", "C#CC#C", "C=C=C", "OO", "OOO", "CSSSC", "NN", "[OH2+]C",
    "C[C@H]1CC[C@@H](C)CC1",
    "[OH+]=c1cccccc1", "CC(C)(C)C", "COC(OC)(OC)OC", "C~C", "C1CC1.C1CC1.C1CC1", "[Cl-].[Cl-].[Ca+2]",
]  # fmt: skip


def zinc() -> list[str]:
    with gzip.open(DATA / "zinc_5k.smi.gz", "rt") as lines:
        return [line.split()[0] for line in lines]


@cache
def real_molecules() -> list[tuple[Chem.Mol, str, Description]]:
    """Every sixteenth ZINC molecule and every eighth of ESOL and BBBP, each with its description."""
    lines = zinc()[::16]
    for name in ("esol.csv", "bbbp.csv"):
        with (DATA / name).open() as table:
            lines += [row["smiles"] for row in csv.DictReader(table)][::8]
    RDLogger.DisableLog("rdApp.*")
    molecules = [molecule for line in lines if (molecule := Chem.MolFromSmiles(line))]
    RDLogger.EnableLog("rdApp.*")
    canonical = [Chem.MolToSmiles(molecule) for molecule in molecules]
    return [(m, smiles, describe(m, smiles)) for m, smiles in zip(molecules, canonical, strict=True)]


def parse(smiles: str) -> Chem.Mol:
    molecule = Chem.MolFromSmiles(smiles)
    assert molecule is not None, smiles
    return molecule


def said(smiles: str) -> Description:
    return describe(parse(smiles), Chem.CanonSmiles(smiles))


def read_counts(sentence: str) -> Counter[str]:
    """`It bears one ester and two alcohols.` -> {ester: 1, alcohol: 2}, plurals undone."""
    singular = {group.plural or f"{group.name}s": group.name for group in FUNCTIONAL_GROUPS}
    body = re.sub(r"^(Functional groups:|It bears|Its groups are|Present are) ", "", sentence)
    counts: Counter[str] = Counter()
    if body == sentence:
        return counts
    for part in re.split(r", | and (?!\w+(?:-\w+)? (?:\w+ )?hundred)", body.removesuffix(".")):
        number, name = part.split(" ", 1)
        counts[singular.get(name, name.removesuffix("s") if NUMBERS[number] > 1 else name)] += NUMBERS[number]
    return counts


def groups_by_definition(molecule: Chem.Mol) -> Counter[str]:
    """The table's rule with every pattern tried, plus the elements without a group of their own."""
    used: set[int] = set()
    counts: Counter[str] = Counter()
    for group in FUNCTIONAL_GROUPS:
        matches = molecule.GetSubstructMatches(pattern(group.pattern), maxMatches=1 << 20)
        free = [match for match in matches if not used & set(match[: group.identity])]
        if free:
            counts[group.name] = len({frozenset(match[: group.identity]) for match in free})
        used |= {atom for match in free for atom in match[: group.uses]}
    for atom in molecule.GetAtoms():
        number = atom.GetAtomicNum()
        if number not in (1, 6, 7, 8, 9, 16, 17, 35, 53):
            counts[f"{element(number)} atom" if number else element(0)] += 1
    return counts


@cache
def pattern(smarts: str) -> Chem.Mol:
    return Chem.MolFromSmarts(smarts)


def test_functional_groups_are_those_of_the_table():
    """Counts read back from the text equal the definition, without the shortcuts that spare patterns."""
    for molecule, smiles, description in real_molecules():
        assert read_counts(description.functional_groups) == groups_by_definition(molecule), smiles


@pytest.mark.parametrize("smiles", NASTY)
def test_functional_groups_of_unusual_molecules(smiles):
    assert read_counts(said(smiles).functional_groups) == groups_by_definition(parse(smiles))


def band_by_definition(value: float, bands) -> str:
    return next(word for bound, word in bands if round(value, 6) < bound)


def check_profile(molecule: Chem.Mol, sentence: str) -> None:
    """Every band and every count of the sentence, from RDKit's own functions on a fresh copy."""
    fresh = parse(Chem.MolToSmiles(molecule))
    mild = rdMolDescriptors.NumRotatableBondsOptions.NonStrict
    rotatable = rdMolDescriptors.CalcNumRotatableBonds(fresh, mild)
    fat = band_by_definition(rdMolDescriptors.CalcCrippenDescriptors(fresh)[0], LIPOPHILICITY_BANDS)
    polar = band_by_definition(rdMolDescriptors.CalcTPSA(fresh), POLARITY_BANDS)
    sentence = sentence[0].lower() + sentence[1:]
    assert re.search(rf"(^of|;) {fat} lipophilicity|lipophilicity is {fat},", sentence)
    assert re.search(rf"(and|,) {polar} polar surface\b|polar surface {polar};", sentence)
    heavy, size = fresh.GetNumHeavyAtoms(), band_by_definition(fresh.GetNumHeavyAtoms(), SIZE_BANDS)
    atoms = f"{in_words(heavy)} heavy atoms?"
    assert re.search(rf"(^|, ){size} \({atoms}\)|^with {atoms} it is {size};", sentence)
    flexible = band_by_definition(rotatable, FLEXIBILITY_BANDS)
    assert re.search(rf"[,;] {flexible} \({in_words(rotatable)} rotatable bonds?\)", sentence)
    if any(atom.GetAtomicNum() == 6 for atom in fresh.GetAtoms()):
        saturation = band_by_definition(rdMolDescriptors.CalcFractionCSP3(fresh), SATURATION_BANDS)
        assert re.search(rf"\), {saturation}[;.]", sentence)
    donors, acceptors = rdMolDescriptors.CalcNumLipinskiHBD(fresh), rdMolDescriptors.CalcNumLipinskiHBA(fresh)
    assert re.search(rf"[,;] {in_words(donors)} hydrogen-bond donors?\b", sentence)
    assert re.search(rf"and {in_words(acceptors)} acceptors?\b", sentence)
    charge = re.search(r"net charge (plus|minus) ([\w-]+)", sentence)
    told = NUMBERS[charge[2]] * (1 if charge[1] == "plus" else -1) if charge else 0
    assert told == Chem.GetFormalCharge(fresh)


def test_profile_holds():
    """Also the proof that logP may add its hydrogens by hand and that rotatable bonds may be counted here."""
    for molecule, smiles, description in real_molecules():
        try:
            check_profile(molecule, description.physicochemical_profile)
        except AssertionError as failure:
            raise AssertionError(f"{smiles}: {description.physicochemical_profile}") from failure


def test_scaffold_counts_hold():
    """As many ring systems, spiro atoms aside, and stereocentres as RDKit finds; components likewise."""
    opening = re.compile(r"^(The scaffold holds|Its ring systems are|The core is built from|It contains) ")
    for molecule, smiles, description in real_molecules():
        first, *clauses = description.core_scaffold.removesuffix(".").split("; ")
        systems = fused_systems(molecule)
        assert first.startswith("An acyclic structure") == (systems == 0), smiles
        if systems and "further" not in first:
            named = re.sub(
                r" (of ring sizes|with|bearing) .*?(?=, (?:one|two)|$)", "", opening.sub("", first)
            )
            if named == opening.sub("", first):  # a structural name holds lists of its own
                told = sum(NUMBERS[part.split(" ")[0]] for part in re.split(r", | and ", named))
                assert told == systems, smiles
        told = next((c for c in clauses if "stereocentre" in c), "no ").split(" ")[0]
        assert NUMBERS[told] == rdMolDescriptors.CalcNumAtomStereoCenters(molecule), smiles
        told = next((c for c in clauses if c.endswith("separate components")), "one ").split(" ")[0]
        assert NUMBERS[told] == len(Chem.GetMolFrags(molecule)), smiles


def fused_systems(molecule: Chem.Mol) -> int:
    """Components of the graph of rings, two of them adjacent when they share a bond."""
    systems: list[set[int]] = []
    for ring in map(set, molecule.GetRingInfo().BondRings()):
        touching = [system for system in systems if system & ring]
        systems = [system for system in systems if not system & ring] + [ring.union(*touching)]
    return len(systems)


@pytest.mark.parametrize("name", RING_SYSTEMS)
def test_every_named_ring_system_is_found(name):
    """Two names of one ring system would hide one of them."""
    assert re.search(rf" one {re.escape(name)}[.;]", said(RING_SYSTEMS[name]).core_scaffold)


@pytest.mark.parametrize(
    ("smiles", "clause"),
    [
        ("c1ccccc1C(=O)Nc1ccncc1", "one benzene and one pyridine; joined by an amide"),
        ("c1ccccc1NC(=O)c1ccncc1", "one benzene and one pyridine; joined by an amide"),
        ("Cc1ccc(-c2ccco2)cc1", "one para-disubstituted benzene and one furan; joined by a direct bond"),
        ("Clc1cccc(Br)c1", "one meta-disubstituted benzene."),
        ("Cc1ccccc1C", "one ortho-disubstituted benzene."),
        ("Cc1cc(C)cc(C)c1", "one symmetrically trisubstituted benzene."),
        ("Cc1cccc(C)c1C", "one vicinally trisubstituted benzene."),
        ("Cc1ccc(C)c(C)c1", "one unsymmetrically trisubstituted benzene."),
        ("C1CCC2(CC1)OCCO2", "one cyclohexane and one dioxolane; joined by a spiro atom"),
        ("c1ccccc1CCOCCc1ccccc1", "joined by a five-atom chain with one oxygen"),
        ("c1ccccc1C(c1ccccc1)c1ccccc1", "three benzenes; joined by a branched linker of one atom"),
        ("C1CCCCCCCCCCCCC1", "one fourteen-membered saturated macrocycle."),
        ("O=C1CCCCCCCN1", "one nine-membered saturated ring with one nitrogen bearing oxo."),
        ("O=C1CCNN1", "one oxo-pyrazolidine."),
        ("CCCCC(C)C", "longest carbon chain has six atoms, with one branching atom"),
        ("CCCCOC", "longest carbon chain has four atoms, without branches"),
        ("[Na+].[Cl-]", "An acyclic structure without carbon; two separate components"),
        ("C/C=C/C", "one E double bond"),
        ("C/C=C\\C", "one Z double bond"),
        ("C[C@H](N)C(=O)O", "one stereocentre"),
        ("CC(N)C(=O)O", "one stereocentre (undefined)"),
        (
            "c1ccc2c(c1)c1ccccc1c1ccccc21",
            "one aromatic fused four-ring system of ring sizes six, six, six and six.",
        ),
    ],
)
def test_scaffold_says(smiles, clause):
    assert clause in said(smiles).core_scaffold


@pytest.mark.parametrize(
    ("smiles", "groups"),
    [
        ("CCOC(C)=O", {"ester": 1, "ethyl group": 1}),
        ("CC(=O)O", {"carboxylic acid": 1}),
        ("CNC(C)=O", {"secondary amide": 1, "N-methyl group": 1}),
        ("OCCO", {"primary alcohol": 2}),
        ("NCCc1ccc(O)cc1", {"primary amine": 1, "phenolic hydroxyl": 1}),
        ("CC(=O)OC(C)=O", {"anhydride": 1}),
        ("NS(=O)(=O)c1ccccc1", {"primary sulfonamide": 1}),
        ("NC(N)=O", {"urea": 1}),
        ("O=C1CCCN1", {"lactam": 1}),
        ("FC(F)(F)c1ccc(F)cc1", {"trifluoromethyl group": 1, "aryl fluoride": 1}),
        ("CC(C)(C)OC(=O)N", {"carbamate": 1, "tert-butyl group": 1}),
        ("C1COCCN1", {"ring ether": 1, "secondary amine": 1}),
        ("OCC1OC(O)C(O)C(O)C1O", {"hemiacetal": 1, "secondary alcohol": 3, "primary alcohol": 1}),
        (
            "Cc1ccc(C#N)cc1[N+](=O)[O-]",
            {"nitrile": 1, "nitro group": 1, "aromatic-ring methyl group": 1},
        ),
        ("c1ccccc1", {}),
    ],
)
def test_groups_are_those_a_chemist_names(smiles, groups):
    assert read_counts(said(smiles).functional_groups) == groups


def test_text_does_not_depend_on_the_order_of_the_atoms():
    for molecule, smiles, description in real_molecules()[::3]:
        order = list(range(molecule.GetNumAtoms()))
        random.Random(smiles).shuffle(order)
        # Through SMILES, so that stereochemistry is perceived anew from another order as well.
        shuffled = Chem.MolToSmiles(Chem.RenumberAtoms(molecule, order), canonical=False)
        assert describe(parse(shuffled), smiles) == description, shuffled


def test_text_does_not_depend_on_the_process():
    """Another hash seed orders every set and dictionary of strings otherwise."""
    sample = [smiles for _, smiles, _ in real_molecules()[::25]]
    program = (
        "import sys; from rdkit import Chem; from sharding.text.describe import describe\n"
        "for line in sys.stdin.read().split(): print(describe(Chem.MolFromSmiles(line), line).text)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            input="\n".join(sample),
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {"".join(describe(parse(line), line).text + "\n" for line in sample)}


@given(st.lists(st.sampled_from(NASTY), min_size=1, max_size=5), st.integers(0, 20))
@settings(max_examples=80, deadline=None)
def test_never_raises_on_salts_of_anything(parts, chain):
    smiles = ".".join(parts + ["C" * chain] * (chain > 0))
    description = said(smiles)
    for sentence in (
        description.core_scaffold,
        description.physicochemical_profile,
        description.functional_groups,
    ):
        assert sentence.endswith(".") and sentence[0].isupper() and "  " not in sentence


@given(st.text(alphabet="CNOSPcnos()=#123[]+-H.FBr*", min_size=1, max_size=14))
@settings(max_examples=300, deadline=None)
def test_never_raises_on_what_rdkit_sanitises(smiles):
    RDLogger.DisableLog("rdApp.*")
    molecule = Chem.MolFromSmiles(smiles)
    RDLogger.EnableLog("rdApp.*")
    if molecule is not None and molecule.GetNumAtoms():
        assert describe(molecule, smiles).text


@pytest.mark.parametrize(
    "smiles",
    [
        "C" * 1000,
        "C1" + "C" * 998 + "1",
        "C(" * 300 + "C" + ")C" * 300,
        "N" + "CC(=O)N" * 240 + "C",
        "c1ccccc1" * 160,
    ],
    ids=["chain", "ring", "comb", "peptide", "polyphenyl"],
)
def test_a_thousand_atoms(smiles):
    assert len(said(smiles).text.split()) < 300


def test_profile_of_unusual_molecules():
    for smiles in NASTY:
        if "~" not in smiles:
            check_profile(parse(smiles), said(smiles).physicochemical_profile)


def test_a_pickled_molecule_is_described_alike():
    """Pickling drops RDKit's private properties, stereochemistry's among them."""
    molecule = parse("C[C@H](N)C(=O)O")
    assert describe(Chem.Mol(molecule.ToBinary()), "x") == describe(molecule, "x")


def test_digits_only_in_names():
    names = sorted((name for name in RING_SYSTEMS if re.search(r"\d", name)), key=len, reverse=True)
    locants = re.compile("|".join(map(re.escape, names)))
    for _, smiles, description in real_molecules():
        assert not re.search(r"\d", locants.sub("", description.text)), smiles


def test_texts_are_short_and_distinct():
    """On 1,250 ZINC molecules, and without the help of the templates: one seed for all."""
    texts = [describe(parse(line), "one seed").text for line in zinc()[::4]]
    assert len(set(texts)) / len(texts) > 0.97
    assert 40 < sum(len(text.split()) for text in texts) / len(texts) < 65


def test_threads_may_describe_at_once(zinc):
    """The tables that fill as molecules come by are shared: a torn one would be wrong for ever."""
    from concurrent.futures import ThreadPoolExecutor

    from sharding.text import patterns, surroundings

    surroundings._known.clear()
    patterns._atoms.__init__()
    patterns._bonds.__init__()
    strings = zinc[1000:1400]
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda smiles: said(smiles).text, strings))
    assert texts == [said(smiles).text for smiles in strings]


def test_threads_may_meet_at_the_first_use():
    """Each makes the table for itself, one is kept; the others' queries must outlive their molecules.

    In a process of its own, because the fault that this is for ends the process.
    """
    program = """
import sys, threading
from rdkit import Chem
from sharding.text import patterns
from sharding.text.describe import describe
smiles = ["CCOC(=O)c1ccc(NC(=O)c2ccncc2)cc1", "CC(=O)Nc1ccc(O)cc1", "C1CCNCC1", "CCS(=O)(=O)N", "OCC#N", "CC(=O)O"]
expected = [describe(Chem.MolFromSmiles(one), one).text for one in smiles]
sys.setswitchinterval(1e-6)
for _ in range(40):
    patterns._compiled.cache_clear()
    patterns._atoms.__init__()
    patterns._bonds.__init__()
    together, found = threading.Barrier(6), [None] * 6
    def work(place):
        together.wait()
        found[place] = describe(Chem.MolFromSmiles(smiles[place]), smiles[place]).text
    threads = [threading.Thread(target=work, args=(place,)) for place in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert found == expected
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
