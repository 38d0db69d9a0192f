"""Fingerprints are their definitions': bit by bit those of the libraries, and of the specification by hand."""

import gzip
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem import rdMolDescriptors, rdReducedGraphs

import sharding.fingerprint as package
from sharding.binary import read
from sharding.config import Fingerprint
from sharding.fingerprint import WIDTHS, fingerprints, maccs, patterns, pubchem, pubchem_keys

NASTY = [
    "C", "[H][H]", "[H+]", "[2H]O[2H]", "[2H]C([2H])([2H])c1ccccc1", "[He]", "[U]", "[Na+].[Cl-]", "[13CH4]",
    "[NH4+].[O-]S(=O)(=O)[O-].[NH4+]", "N[Pt](N)(Cl)Cl", "[NH3]->[Pt](<-[NH3])(Cl)Cl", "[CH3]", "[O][O]",
    "C[N+](C)(C)[O-]", "[C-]#[O+]", "C=[N+]=[N-]", "F[P-](F)(F)(F)(F)F.CCn1cc[n+](C)c1", "[Li]CCCC", "[Li][Li]",
    "[Fe+2].c1cc[cH-]c1.c1cc[cH-]c1", "O=[Os](=O)(=O)=O", "B", "[BH4-].[Na+]", "[BH2-]1[H+][BH2-][H+]1", "BBBB",
    "C[Si](C)(C)O[Si](C)(C)C", "[SiH3][SiH3]", "Cl[Si](Cl)(Cl)Cl", "[AlH3]", "Cl[Al](Cl)Cl", "C[As](O)O",
    "O=[As](O)(O)c1ccccc1", "[AsH2][AsH2]", "O=S(=O)=O", "S1SSSSSSS1", "P12P3P1P23", "C12C3C4C1C5C2C3C45",
    "C1CC2(C1)CC2", "C1CC12CC2", "CC1(C)CC1", "CCC1CC1", "C1C2CC3CC1CC(C2)C3", "c1ccc2c(c1)c1ccccc1c1ccccc21",
    "C1CCCCCCCCCCCCC1", "O=C1CCCCCCCCCCCCCCO1", "C1CCCCCCC1", "C1CCCCCCCC1", "C1CCCCCCCCC1", "C1=CC=CC=CC=C1",
    "N#N", "[O-][n+]1ccccc1", "O=[N+]([O-])O", "NC1C(Cl)CC1", "NC1C(Cl)CCC1", "FC(F)(F)C(F)(F)F", "c1ncncn1",
    "O=c1[nH]c(=O)c2[nH]cnc2[nH]1", "[OH+]=c1cccccc1", "C~C", "C~[CH2](~C)~C", "C1CC1.C1CC1", "C=C=C", "C#CC#C",
    "c1cc[se]c1", "C[Te]C", "[K]OC", "C[Mg]Br", "[Na]C", "*c1ccccc1", "[*H]C", "N1N=N1", "O1OO1", "C1=CC1", "C1N=N1",
    "c12c3c4c5c1c6c7c8c2c9c1c3c2c3c4c4c%10c5c5c6c6c7c7c%11c8c9c8c9c1c2c1c2c3c4c3c4c%10c5c5c6c6c7c7c%11c8c8c9c1c1c2"
    "c3c2c4c5c6c3c7c8c1c23",
    "C" * 300, "OC[C@H]1O[C@@H](O[C@H]2O[C@H](CO)[C@@H](O)[C@H](O)[C@H]2O)[C@H](O)[C@@H](O)[C@@H]1O",
    "Brc1ccc(Br)cc1Cl", "CSc1ccccc1S", "BrC1CCC(Br)CC1", "SC1CC(Cl)CC1", "IC(I)I", "CP(C)P", "ON=O", "FN(F)F", "FS",
]  # fmt: skip


@cache
def molecules() -> list[Chem.Mol]:
    """Every twentieth of the ZINC sample, and what no drug looks like."""
    path = Path(__file__).parents[1] / "data" / "zinc_5k.smi.gz"
    zinc = gzip.decompress(path.read_bytes()).decode().split()
    with rdBase.BlockLogs():
        found = [Chem.MolFromSmiles(smiles) for smiles in [*NASTY, *zinc[::20]]]
    assert None not in found
    return found


def bits(smiles: str, name: Fingerprint = Fingerprint.pubchem) -> set[int]:
    return set(np.flatnonzero(fingerprints([Chem.MolFromSmiles(smiles)], [name])[name][0]).tolist())


def differing(ours: np.ndarray, theirs: np.ndarray) -> list[tuple[str, int]]:
    assert ours.shape == theirs.shape
    return [(Chem.MolToSmiles(molecules()[row]), int(bit)) for row, bit in np.argwhere(ours != theirs)]


def rdkit_maccs(some: list[Chem.Mol]) -> np.ndarray:
    found = np.zeros((len(some), 167), np.uint8)
    for row, molecule in zip(found, some, strict=True):
        DataStructs.ConvertToNumpyArray(rdMolDescriptors.GetMACCSKeysFingerprint(molecule), row)
    return found


# --- the definitions ---


def test_pubchem_is_that_of_scikit_fingerprints() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library, at its import
        library = pytest.importorskip("skfp.fingerprints")
        theirs = library.PubChemFingerprint().transform(molecules())
    ours = fingerprints(molecules(), [Fingerprint.pubchem])[Fingerprint.pubchem]
    assert differing(ours, theirs) == []
    assert (ours.any(0)).sum() > 600, "most keys are there in some molecule, or equality says little"


def test_maccs_is_that_of_rdkit() -> None:
    ours = fingerprints(molecules(), [Fingerprint.maccs])[Fingerprint.maccs]
    assert differing(ours, rdkit_maccs(molecules())) == []
    assert (ours.any(0)).sum() > 150


def test_erg_is_that_of_rdkit_in_exact_tenths() -> None:
    ours = fingerprints(molecules(), [Fingerprint.erg])[Fingerprint.erg]
    theirs = np.array(
        [rdReducedGraphs.GetErGFingerprint(one, fuzzIncrement=0.3, maxPath=21) for one in molecules()]
    )
    assert np.abs(theirs * 10 - ours).max() < 1e-6
    assert ours.any() and ours.dtype == np.uint16


def test_erg_that_is_too_large_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rdReducedGraphs, "GetErGFingerprint", lambda *_, **__: np.full(441, 7000.0))
    assert (fingerprints(molecules()[:1], [Fingerprint.erg])[Fingerprint.erg] == 65535).all()


@pytest.mark.parametrize(
    ("smiles", "there", "absent"),
    [
        ("C", {283}, {9, 284, 374}),  # C-H; >= 2 C; C-C; CH3 exactly, as the library has it
        ("CC", {0, 9, 284, 344, 374}, {1, 10}),  # >= 4 H, >= 2 C
        ("CCCCCCCCO", {2, 11, 18, 286, 308, 406, 689, 698}, {3, 12, 14, 416}),  # O-C-C-C-C-C-C-C
        ("CCCCCCCC", {679, 688, 696}, {697, 708}),
        ("CC(C)C(C)C", {708, 712}, {711, 582}),
        ("C#CC", {417, 427, 428}, {416, 419}),
        ("CC#N", {14, 419, 429}, {417}),
        ("CC(=O)Cl", {37, 420, 433, 444}, {38, 440}),
        ("Cc1ccc(C)cc1", {178, 713, 776}, {734, 755, 797}),
        ("Cc1cccc(C)c1", {734, 797}, {713, 755}),
        ("Cc1ccccc1C", {755, 818}, {713, 734}),
        ("CC1CCC(C)CC1", {776}, {713}),
        ("Clc1ccc(Br)cc1", {37, 43, 732}, {731, 733}),
        ("BrC1C(Br)CCC1", {44, 880}, {838, 859}),
        ("NC1C(Cl)CC1", {876}, {875, 877}),  # a ring of four, as in the specification
        ("C1CC1", {115, 116}, {117, 122}),
        ("N1CCCCCCCCC1", {248, 250}, {241, 249}),
        ("[Na+].[Cl-]", {26, 37}, {27, 43}),
        ("[U]", {114}, {113}),
        ("C[As](C)C", {65, 295}, {326}),
    ],
)
def test_bits_of_the_specification(smiles: str, there: set[int], absent: set[int]) -> None:
    found = bits(smiles)
    assert there <= found
    assert not absent & found


def test_tables_have_the_widths_of_the_specification() -> None:
    keys = pubchem_keys
    sections = [len(keys.ELEMENTS), 7 * len(keys.RINGS) + 2 * len(keys.AROMATIC_RINGS)]
    sections += [
        len(part) for part in (keys.PAIRS, keys.NEIGHBOURS, keys.DETAILED, keys.SIMPLE, keys.COMPLEX)
    ]
    assert np.cumsum([0, *sections]).tolist() == [0, 115, 263, 327, 416, 460, 713, 881]


@pytest.mark.parametrize(
    ("key", "smarts"),
    [
        ("Al~H", "[#13;!H0]"),
        ("C(~C)(~H)(:N)", "[#6;!H0](~[#6])(:[#7])"),
        ("Si(~C)(~C)", "[#14](~[#6])(~[#6])"),
        ("[#1]-C=C-[#1]", "[#6;!H0]=,:[#6;!H0]"),
        ("C-[As]-O-[#1]", "[#6]-,:[#33]-,:[#8;!H0]"),
        ("O=C-C-C-C-C(=O)-C", "[#8]=,:[#6]-,:[#6]-,:[#6]-,:[#6]-,:[#6](=,:[#8])-,:[#6]"),
        ("Brc1c(Cl)cccc1", "[#35]c1c([#17])cccc1"),
    ],
)
def test_a_key_in_smarts(key: str, smarts: str) -> None:
    assert pubchem.smarts(key, "!H0") == smarts


# --- the search ---


@pytest.mark.parametrize(
    ("smarts", "wanted"),
    [
        ("[#6]~[#6]", 4),
        ("[R]@[R]@[R]", 3),
        ("*1~*~*~*~*~*~1", 2),
        ("[#8]=*", 2),
        ("[#6](~[#8])(~[#7])~[#6]", 2),
    ],
)
def test_places_are_counted_as_rdkit_counts_matches(smarts: str, wanted: int) -> None:
    query = Chem.MolFromSmarts(smarts)
    counts = patterns.Patterns([smarts, "[#6]"], [wanted, 1]).count(read(molecules()))
    theirs = [min(len(one.GetSubstructMatches(query)), wanted) for one in molecules()]
    assert counts[:, 0].tolist() == theirs


def test_a_pattern_of_rings_that_share_bonds_is_refused() -> None:
    with pytest.raises(ValueError):
        patterns.Patterns(["*12~*3~*1~*23"])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_order_of_atoms_does_not_matter(data: st.DataObject) -> None:
    molecule = data.draw(st.sampled_from(molecules()))
    order = data.draw(st.permutations(range(molecule.GetNumAtoms())))
    both = [molecule, Chem.RenumberAtoms(molecule, order)]
    for name in (Fingerprint.maccs, Fingerprint.pubchem):
        first, second = fingerprints(both, [name])[name]
        assert np.array_equal(first, second)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_way_a_molecule_is_written_does_not_matter(data: st.DataObject) -> None:
    """But for rings (their heteroatom bits follow the direction of bonds) and hydrogens in brackets."""
    molecule = data.draw(st.sampled_from(molecules()))
    seed = data.draw(st.integers(0, 1 << 30))
    (written,) = Chem.MolToRandomSmilesVect(molecule, 1, randomSeed=seed)
    both = [molecule, Chem.MolFromSmiles(written)]
    first, second = fingerprints(both, [Fingerprint.pubchem])[Fingerprint.pubchem]
    assert np.array_equal(first[4:115], second[4:115])
    assert np.array_equal(first[263:], second[263:])
    first, second = fingerprints(both, [Fingerprint.maccs])[Fingerprint.maccs]
    assert np.array_equal(first, second)


# --- the interface ---


def test_widths_and_kinds() -> None:
    found = fingerprints(molecules()[:3], list(Fingerprint))
    assert {name: one.shape for name, one in found.items()} == {
        name: (3, WIDTHS[name]) for name in Fingerprint
    }
    assert [found[name].dtype for name in Fingerprint] == [np.uint8, np.uint8, np.uint16]
    assert list(WIDTHS.values()) == [167, 881, 441]
    assert {name: one.shape for name, one in fingerprints([], list(Fingerprint)).items()} == {
        name: (0, WIDTHS[name]) for name in Fingerprint
    }


def test_a_batch_is_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    some, names = molecules()[40:70], list(Fingerprint)
    whole = fingerprints(some, names)
    alone = [fingerprints([one], names) for one in some]
    given_structures = fingerprints(some, names, read(some))
    monkeypatch.setattr(package, "AT_A_TIME", 7)
    cut = fingerprints(some, names)
    for name in names:
        assert np.array_equal(whole[name], np.concatenate([one[name] for one in alone]))
        assert np.array_equal(whole[name], given_structures[name])
        assert np.array_equal(whole[name], cut[name])


def test_kinds_that_are_forgotten_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["[#6]~[#8]", "[#7;!H0]:[#6]", "[#6;H3]"]
    expected = patterns.Patterns(keys).count(read(molecules()))
    monkeypatch.setattr(patterns, "MOST", 3)
    forgetful = patterns.Patterns(keys)
    found = [forgetful.count(read(molecules()[start : start + 9])) for start in range(0, len(molecules()), 9)]
    assert np.array_equal(np.concatenate(found), expected)


def test_what_rdkit_raises_is_raised() -> None:
    with pytest.raises((RuntimeError, ValueError)):
        fingerprints([Chem.MolFromSmiles("C1CC1", sanitize=False)], [Fingerprint.maccs])
    assert maccs.WIDTH == 167
