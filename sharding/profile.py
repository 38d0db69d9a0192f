"""The second sentence: size, lipophilicity, polarity, hydrogen bonds, flexibility, saturation, charge.

    Structure, Whole  ->  "Small (fifteen heavy atoms), rigid (no rotatable bonds), ..."

Numbers are RDKit's, put into the bands of `chemistry_names`. Donors and acceptors are Lipinski's counts, the
cheapest that RDKit offers.
"""

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from sharding.chemistry_names import (
    FLEXIBILITY_BANDS,
    LIPOPHILICITY_BANDS,
    POLARITY_BANDS,
    SATURATION_BANDS,
    SIZE_BANDS,
    Bands,
    counted,
    in_words,
)
from sharding.structure import Structure
from sharding.surroundings import Whole


def band(value: float, bands: Bands) -> str:
    """The word of the band that holds `value`; a bound belongs to the band above it."""
    return next(word for bound, word in bands if value < bound)


ORDINARY = frozenset((1, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53))
"""Elements between which no dative bond is expected; the bond orders of the others are asked of RDKit."""


def rotatable_bonds(structure: Structure) -> int:
    """RDKit's non-strict count: single, outside rings, ends neither terminal nor at a triple bond."""
    if not ORDINARY.issuperset(structure.numbers):
        return rdMolDescriptors.CalcNumRotatableBonds(
            structure.molecule, rdMolDescriptors.NumRotatableBondsOptions.NonStrict
        )
    neighbours = structure.neighbours
    return sum(
        [
            order == 1.0 and _is_inner(neighbours[first]) and _is_inner(neighbours[second])
            for (first, second, _, (_, order), _, _), in_ring in zip(
                structure.bonds, structure.in_ring, strict=True
            )
            if not in_ring
        ]
    )


def _is_inner(ends: list[tuple[int, float]]) -> bool:
    return len(ends) > 1 and 3.0 not in [order for _, order in ends]


def profile_sentence(structure: Structure, whole: Whole, seed: int) -> str:
    """`seed` chooses the order of the facts."""
    molecule = structure.molecule
    heavy_atoms = molecule.GetNumHeavyAtoms()
    size, heavy = band(heavy_atoms, SIZE_BANDS), counted(heavy_atoms, "heavy atom")
    # rounded, so that the order of a sum cannot matter
    fat = band(round(whole.log_p, 6), LIPOPHILICITY_BANDS)
    polar = band(round(whole.polar_surface, 6), POLARITY_BANDS)
    donors = counted(rdMolDescriptors.CalcNumLipinskiHBD(molecule), "hydrogen-bond donor")
    acceptors = counted(rdMolDescriptors.CalcNumLipinskiHBA(molecule), "acceptor")
    rotatable = rotatable_bonds(structure)
    flexible, bonds = band(rotatable, FLEXIBILITY_BANDS), counted(rotatable, "rotatable bond")
    carbon = ""
    if 6 in structure.numbers:
        saturation = band(round(rdMolDescriptors.CalcFractionCSP3(molecule), 6), SATURATION_BANDS)
        carbon = f", {saturation}"
    hydrogen_bonds = f"{donors} and {acceptors}"
    sentence = (
        f"{size.capitalize()} ({heavy}), {flexible} ({bonds}){carbon}; {fat} lipophilicity, "
        f"{polar} polar surface, {hydrogen_bonds}",
        f"With {heavy} it is {size}; lipophilicity is {fat}, polar surface {polar}; {hydrogen_bonds}; "
        f"{flexible} ({bonds}){carbon}",
        f"Of {fat} lipophilicity and {polar} polar surface, {size} ({heavy}), {flexible} "
        f"({bonds}){carbon}; {hydrogen_bonds}",
    )[seed % 3]
    charge = Chem.GetFormalCharge(molecule)
    sign = "plus" if charge > 0 else "minus"
    return f"{sentence}; net charge {sign} {in_words(abs(charge))}." if charge else f"{sentence}."
