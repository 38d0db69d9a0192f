"""Standardisation, by option: a salt becomes its parent, a charge is neutralised, a tautomer becomes the canonical one.

    sanitised molecule  ->  sanitised molecule

In this order, each step RDKit's own (rdMolStandardize, after MolVS): largest fragment, uncharge, canonical
tautomer. Off by default: a library is usually drawn on purpose, and tautomers cost more than all the rest
(`mode=plan` measures it). What is stored of a molecule is then of the standardised one; the encoder remembers
these options and does the same to what it is asked to embed.
"""

from functools import cache

from rdkit import Chem
from rdkit.Chem.MolStandardize import rdMolStandardize

from sharding.config import StandardiseConfig


def standardise(molecule: Chem.Mol, config: StandardiseConfig) -> Chem.Mol:
    """The molecule as the options ask for it; the same object when none does."""
    if config.largest_fragment:
        # asking first costs a twentieth of choosing
        molecule = _fragments().choose(molecule) if len(Chem.GetMolFrags(molecule)) > 1 else molecule
    if config.uncharge:
        molecule = _uncharger().uncharge(molecule)
    if config.canonical_tautomer:
        molecule = _tautomers().Canonicalize(molecule)
    return molecule


@cache
def _fragments() -> rdMolStandardize.LargestFragmentChooser:
    return rdMolStandardize.LargestFragmentChooser()


@cache
def _uncharger() -> rdMolStandardize.Uncharger:
    return rdMolStandardize.Uncharger()


@cache
def _tautomers() -> rdMolStandardize.TautomerEnumerator:
    return rdMolStandardize.TautomerEnumerator()
