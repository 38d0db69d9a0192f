"""The second sentence: size, lipophilicity, polarity, hydrogen bonds, flexibility, saturation, charge.

    Structures of m molecules, m seeds  ->  m times "Small (fifteen heavy atoms), rigid (no rotatable bonds), ..."

Numbers are RDKit's, put into the bands of `chemistry_names`. Donors and acceptors are Lipinski's counts, the
cheapest that RDKit offers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from rdkit.Chem import rdMolDescriptors

from sharding.structure import CHARGE, HYDROGENS, Graphs, Ints, Structures
from sharding.text.chemistry_names import (
    FLEXIBILITY_BANDS,
    LIPOPHILICITY_BANDS,
    POLARITY_BANDS,
    SATURATION_BANDS,
    SIZE_BANDS,
    Bands,
    counted,
    in_words,
)
from sharding.text.surroundings import sum_up


def bands(values: NDArray[np.generic], table: Bands) -> list[str]:
    """The word of the band that holds each value; a bound belongs to the band above it."""
    # rounded, so that the order of a sum cannot matter
    places = np.searchsorted([bound for bound, _ in table], np.round(values.astype(float), 6), side="right")
    return [table[place][1] for place in places.tolist()]


class Counts(NamedTuple):
    """Of every molecule (m,), as RDKit counts."""

    heavy_atoms: Ints
    donors: Ints
    acceptors: Ints
    rotatable_bonds: Ints
    """The non-strict count: single, outside rings, ends neither terminal nor at a triple bond."""
    carbons: Ints
    saturated_carbons: Ints
    charge: Ints


ORDINARY = np.zeros(256, np.bool_)
ORDINARY[[1, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53]] = True
"""Elements between which no dative bond is expected; the bond orders of the others are asked of RDKit."""


def count(structures: Structures) -> Counts:
    """All counts of all molecules."""
    counts, unusual = _count(structures.graphs, ORDINARY)
    found = Counts(*counts.T)
    for k in np.flatnonzero(unusual).tolist():
        found.rotatable_bonds[k] = rdMolDescriptors.CalcNumRotatableBonds(
            structures.molecules[k], rdMolDescriptors.NumRotatableBondsOptions.NonStrict
        )
    return found


@njit(cache=True, nogil=True)
def _count(graphs: Graphs, ordinary):  # type: ignore[no-untyped-def]
    """`Counts` as columns, and which molecules have other than ordinary elements."""
    molecules = len(graphs.atom_start) - 1
    counts, unusual = np.zeros((molecules, 7), np.int64), np.zeros(molecules, np.bool_)
    for k in range(molecules):
        found = counts[k]
        for atom in range(graphs.atom_start[k], graphs.atom_start[k + 1]):
            number = graphs.atoms[atom] & 255
            hydrogens = graphs.atoms[atom] >> HYDROGENS & 255
            first, last = graphs.around_start[atom], graphs.around_start[atom + 1]
            unusual[k] |= not ordinary[number]
            found[0] += number > 1
            found[6] += (graphs.atoms[atom] >> CHARGE & 255) - 128
            if number == 6:
                found[4] += 1
                found[5] += last - first + hydrogens == 4
            elif number == 7 or number == 8:
                found[2] += 1
                found[1] += hydrogens
                for place in range(first, last):
                    found[1] += graphs.atoms[graphs.around[place]] & 255 == 1
        for bond in range(graphs.bond_start[k], graphs.bond_start[k + 1]):
            if graphs.orders[bond] == 2 and not graphs.in_ring[bond]:
                found[3] += _is_inner(graphs, graphs.ends[bond, 0]) and _is_inner(
                    graphs, graphs.ends[bond, 1]
                )
    return counts, unusual


@njit(cache=True, nogil=True)
def _is_inner(graphs: Graphs, atom):  # type: ignore[no-untyped-def]
    first, last = graphs.around_start[atom], graphs.around_start[atom + 1]
    for place in range(first, last):
        if graphs.orders[graphs.around_bonds[place]] == 6:
            return False
    return last - first > 1


def profile_sentences(structures: Structures, seeds: Sequence[int]) -> list[str]:
    """A seed chooses the order of the facts."""
    found = count(structures)
    log_p, polar_surface = sum_up(structures)
    columns = (
        bands(found.heavy_atoms, SIZE_BANDS),
        found.heavy_atoms.tolist(),
        bands(found.rotatable_bonds, FLEXIBILITY_BANDS),
        found.rotatable_bonds.tolist(),
        bands(log_p, LIPOPHILICITY_BANDS),
        bands(polar_surface, POLARITY_BANDS),
        _saturation(found),
        found.donors.tolist(),
        found.acceptors.tolist(),
        found.charge.tolist(),
        seeds,
    )
    return list(map(_sentence, *columns))


def _saturation(found: Counts) -> list[str]:
    """`, half-saturated`; nothing of a molecule without carbon."""
    fractions = found.saturated_carbons / np.maximum(found.carbons, 1)
    return [
        f", {word}" if carbons else ""
        for word, carbons in zip(bands(fractions, SATURATION_BANDS), found.carbons.tolist(), strict=True)
    ]


def _sentence(
    size: str, heavy_atoms: int, flexible: str, rotatable: int, fat: str, polar: str,
    carbon: str, donors: int, acceptors: int, charge: int, seed: int,
) -> str:  # fmt: skip
    heavy, bonds = counted(heavy_atoms, "heavy atom"), counted(rotatable, "rotatable bond")
    hydrogen_bonds = f"{counted(donors, 'hydrogen-bond donor')} and {counted(acceptors, 'acceptor')}"
    order = seed % 3
    if order == 0:
        sentence = (
            f"{size.capitalize()} ({heavy}), {flexible} ({bonds}){carbon}; {fat} lipophilicity, "
            f"{polar} polar surface, {hydrogen_bonds}"
        )
    elif order == 1:
        sentence = (
            f"With {heavy} it is {size}; lipophilicity is {fat}, polar surface {polar}; {hydrogen_bonds}; "
            f"{flexible} ({bonds}){carbon}"
        )
    else:
        sentence = (
            f"Of {fat} lipophilicity and {polar} polar surface, {size} ({heavy}), {flexible} "
            f"({bonds}){carbon}; {hydrogen_bonds}"
        )
    sign = "plus" if charge > 0 else "minus"
    return f"{sentence}; net charge {sign} {in_words(abs(charge))}." if charge else f"{sentence}."
