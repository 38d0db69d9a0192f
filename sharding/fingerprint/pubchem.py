"""The PubChem substructure fingerprint: 881 bits, equal to scikit-fingerprints' `PubChemFingerprint`.

    k molecules  ->  (k, 881) 0 or 1

Definitions are the specification's (`pubchem_keys`), its hydrogens as they are, implicit or not. Where
scikit-fingerprints 2.1, with which models are compared, reads the document in another way, so does this:
    bits 0 ... 3    hydrogens of an atom that is written in brackets are not counted, [nH] and [C@H] among them
    bits 115 ...    rings are RDKit's symmetrised smallest set and its aromaticity, not CACTVS's
      heteroatom    is true if a bond of the ring begins at a carbon (as RDKit directs it) or ends at a hydrogen,
                    which is nearly every ring that has any carbon
      unsaturated   every bond of the ring is neither single nor aromatic, where the document asks for any
    bits 255 ...    an aromatic ring counts as often as its size has thresholds (5 times for 5 and 6, once for 9
                    and 10, otherwise twice; larger rings not at all): one benzene is four aromatic rings
    bits 335, 338, 339, 347, 374    exactly so many hydrogens as are written: methane has no bit 374
"""

import re
from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray
from rdkit import Chem

from sharding.fingerprint import pubchem_keys as keys
from sharding.fingerprint.patterns import Patterns
from sharding.structure import NUMBER, TYPE, Graphs, Structures

WIDTH = 881
FIRST_RING, FIRST_PATTERN = 115, 263
EXACTLY = {335: "H1", 338: "H1", 339: "H1", 347: "H1", 374: "H3"}
"""Bits with a number of hydrogens that is not only a lower bound."""


def pubchem(structures: Structures) -> NDArray[np.uint8]:
    """The bits of each molecule."""
    bits = np.empty((len(structures), WIDTH), np.uint8)
    bits[:, :FIRST_RING] = _elements(structures)
    bits[:, FIRST_RING:FIRST_PATTERN] = _rings(structures.graphs)
    bits[:, FIRST_PATTERN:] = _patterns().count(structures)
    return bits


# --- elements ---


@cache
def _thresholds() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    table = Chem.GetPeriodicTable()
    numbers = [table.GetAtomicNumber(symbol) for symbol, _ in keys.ELEMENTS]
    return np.array(numbers), np.array([least for _, least in keys.ELEMENTS])


def _elements(structures: Structures) -> NDArray[np.bool_]:
    graphs, molecules, most = structures.graphs, len(structures), 256
    owner = np.repeat(np.arange(molecules), np.diff(graphs.atom_start))
    places = owner * most + (graphs.atoms >> NUMBER & 255)
    counts = np.bincount(places, minlength=molecules * most).reshape(molecules, most)
    counts[:, 1] += np.array([_implicit_hydrogens(one) for one in structures.molecules], np.int64)
    elements, least = _thresholds()
    return counts[:, elements] >= least


def _implicit_hydrogens(molecule: Chem.Mol) -> int:
    """All hydrogens that are no atoms, less those that brackets name. Asking each atom takes twice as long."""
    every = molecule.GetNumAtoms(onlyExplicit=False)
    return every - Chem.AddHs(molecule, explicitOnly=True).GetNumAtoms()


# --- rings ---

SINGLE_BOND, AROMATIC_BOND = int(Chem.BondType.SINGLE), int(Chem.BondType.AROMATIC)
SIZES = 11  # up to 10
ANY, SATURATED, UNSATURATED, AROMATIC, HETERO_AROMATIC, FEATURES = 0, 1, 4, 7, 8, 9
CARBON_ONLY, NITROGEN, HETEROATOM = 0, 1, 2


def _rings(graphs: Graphs) -> NDArray[np.bool_]:
    counts = _count_rings(graphs, graphs.atoms >> NUMBER & 255, graphs.bonds >> TYPE & 255)
    sizes = [counts[:, size, :AROMATIC] >= least for size, least in keys.RINGS]
    # every threshold of a size adds its rings once more: see the module's head
    aromatic = counts[:, [size for size, _ in keys.RINGS], AROMATIC:].sum(1)
    return np.hstack([*sizes, *(aromatic >= least for least in keys.AROMATIC_RINGS)])


@njit(cache=True, nogil=True)
def _count_rings(graphs, numbers, types):  # type: ignore[no-untyped-def]
    """(k, sizes, features) rings by size that have these features."""
    counts = np.zeros((len(graphs.ring_start) - 1, SIZES, FEATURES), np.int64)
    for molecule in range(len(counts)):
        for ring in range(graphs.ring_start[molecule], graphs.ring_start[molecule + 1]):
            begin, end = graphs.ring_atoms_start[ring], graphs.ring_atoms_start[ring + 1]
            if end - begin >= SIZES:
                continue
            aromatic = saturated = unsaturated = carbon_only = True
            nitrogen = heteroatom = False
            for place in range(begin, end):
                bond, number = graphs.ring_bonds[place], numbers[graphs.ring_atoms[place]]
                aromatic &= types[bond] == AROMATIC_BOND
                saturated &= types[bond] == SINGLE_BOND or types[bond] == AROMATIC_BOND
                unsaturated &= types[bond] != SINGLE_BOND and types[bond] != AROMATIC_BOND
                carbon_only &= number == 6
                nitrogen |= number == 7
                heteroatom |= numbers[graphs.ends[bond, 0]] == 6 or numbers[graphs.ends[bond, 1]] == 1
            count = counts[molecule, end - begin]
            count[ANY] += 1
            for feature, has in ((SATURATED, saturated), (UNSATURATED, unsaturated)):
                count[feature + CARBON_ONLY] += has and carbon_only
                count[feature + NITROGEN] += has and nitrogen
                count[feature + HETEROATOM] += has and heteroatom
            count[AROMATIC] += aromatic
            count[HETERO_AROMATIC] += aromatic and not carbon_only
    return counts


# --- patterns ---


@cache
def _patterns() -> Patterns:
    """Bits 263 to 880."""
    sections = (
        [key.replace("-", "~") for key in keys.PAIRS],
        *(keys.NEIGHBOURS, keys.DETAILED, keys.SIMPLE, keys.COMPLEX),
    )
    every = [key for section in sections for key in section]
    return Patterns([smarts(key, EXACTLY.get(bit, "!H0")) for bit, key in enumerate(every, FIRST_PATTERN)])


_SYMBOL = re.compile(r"\[?(Li|Br|Cl|Si|Na|Mg|Al|As|Se|[BCNOFPSKIH]|#1)\]?")
_BOND = {"-": "-,:", "=": "=,:"}


def smarts(key: str, hydrogens: str) -> str:
    """A key in SMARTS. An atom with hydrogens in the key needs `hydrogens`, whether they are atoms or not."""
    table = Chem.GetPeriodicTable()
    numbered = _SYMBOL.sub(
        lambda found: f"[#{1 if found[1] in ('H', '#1') else table.GetAtomicNumber(found[1])}]", key
    )
    # single or aromatic is also what a bond means that is not written
    return re.sub(r"[-=]", lambda found: _BOND[found[0]], _with_hydrogens(numbered, hydrogens))


def _with_hydrogens(key: str, hydrogens: str) -> str:
    """Hydrogens become a property of the atom that they are on."""
    if "(" in key:  # on the atom before all brackets
        rest = re.sub(r"\(.\[#1\]\)", "", key)
        return rest if rest == key else rest.replace("]", f";{hydrogens}]", 1)
    key = re.sub(r"^\[#1\].(\[#\d+)", rf"\1;{hydrogens}", key)
    return re.sub(r"(\[#\d+(?:;!H0)?)\].\[#1\]$", rf"\1;{hydrogens}]", key)
