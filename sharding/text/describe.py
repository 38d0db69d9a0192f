"""The describer: a molecule in three sentences of a chemist's English, without a language model.

    molecule (sanitised), its canonical SMILES  ->  Description: scaffold, profile, functional groups
Every statement holds by RDKit. The text is a function of the molecule and of that SMILES, which seeds the
choice of phrase: neither atom order nor process nor Python's hash seed can change it.

Plays the part of the language model of LGM-CL (arXiv 2601.22610), whose text view has the same three
fields. There a 7B model writes them; here tables and templates do, because a library needs a text for every
molecule, a wrong statement is a wrong positive, and two runs must agree.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from rdkit import Chem

from sharding.binary import read
from sharding.structure import Structures
from sharding.text.groups import groups_sentences
from sharding.text.profile import profile_sentences
from sharding.text.scaffold import scaffold_sentences


@dataclass(frozen=True, slots=True)
class Description:
    """The fields of LGM-CL's text view, one sentence each."""

    core_scaffold: str
    physicochemical_profile: str
    functional_groups: str

    @property
    def text(self) -> str:
        return f"{self.core_scaffold} {self.physicochemical_profile} {self.functional_groups}"


def describe(molecule: Chem.Mol, smiles: str) -> Description:
    """Describe a sanitised molecule of at least one atom. `smiles` only seeds the phrases."""
    if not molecule.HasProp("_StereochemDone"):  # lost by pickling; the caller's molecule stays as it is
        molecule = Chem.Mol(molecule)
        Chem.AssignStereochemistry(molecule, cleanIt=True, flagPossibleStereoCenters=True)
    (description,) = describe_all(read([molecule]), [smiles])
    return description


def describe_all(structures: Structures, smiles: Sequence[str]) -> list[Description]:
    """Of many at once, which costs a tenth of one after the other."""
    seeds = [zlib.crc32(string.encode()) for string in smiles]
    scaffolds = scaffold_sentences(structures, seeds)
    profiles = profile_sentences(structures, [seed // 7 for seed in seeds])
    groups = groups_sentences(structures, [seed // 49 for seed in seeds])
    return list(map(Description, scaffolds, profiles, groups))
