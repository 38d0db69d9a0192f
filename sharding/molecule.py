"""One molecule: a SMILES string becomes an RDKit molecule and its canonical SMILES, or a named rejection.

    text  ->  (molecule, canonical SMILES)     or  Rejected(reason)

Canonical: RDKit's isomeric canonical SMILES, atom-map numbers removed. The order of checks is the order of
their price: length and characters first, parsing next, canonicalisation last, because `MolToSmiles` is the
call that can take seconds (or crash) on very large molecules that parse without complaint.
"""

from rdkit import Chem

from sharding.config import StandardiseConfig
from sharding.standardise import standardise

AS_IT_IS = StandardiseConfig()
REASONS = {
    "empty": "the field is empty",
    "too_long": "more characters than record.max_smiles_characters",
    "not_ascii": "characters that no SMILES has",
    "whitespace": "white space inside the SMILES",
    "syntax": "not a SMILES",
    "reaction": "a reaction, not a molecule",
    "valence": "an atom has a valence that RDKit does not allow",
    "kekulization": "aromatic rings without a Kekule structure",
    "sanitization": "RDKit cannot sanitise the molecule",
    "no_atoms": "a molecule without atoms",
    "dummy_atom": "a wildcard or attachment point: a pattern, not a molecule",
    "too_many_atoms": "more heavy atoms than record.max_atoms",
    "not_round_trip": "the canonical SMILES does not parse again",
    "timeout": "took longer than time_limit_s of CPU time",
    "crash": "ended the process that worked on it",
}


class Rejected(Exception):
    """A molecule that is not sharded. `reason` is a key of `REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(REASONS[reason])
        self.reason = reason


def parse(smiles: str, *, max_atoms: int, max_characters: int) -> Chem.Mol:
    """The sanitised molecule, or `Rejected` with the first reason that applies."""
    if not smiles:
        raise Rejected("empty")
    if len(smiles) > max_characters:
        raise Rejected("too_long")
    if not smiles.isascii() or not smiles.isprintable():  # RDKit would drop trailing bytes in silence
        raise Rejected("whitespace" if any(c.isspace() for c in smiles) else "not_ascii")
    if " " in smiles:  # RDKit would read `CC O` as CC, named O
        raise Rejected("whitespace")
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raise Rejected(_diagnose(smiles))
    if molecule.GetNumAtoms() == 0:
        raise Rejected("no_atoms")
    if molecule.GetNumAtoms() > max_atoms:
        raise Rejected("too_many_atoms")
    if ("*" in smiles or "#0" in smiles) and any(atom.GetAtomicNum() == 0 for atom in molecule.GetAtoms()):
        raise Rejected("dummy_atom")
    return molecule


def canonicalise(
    smiles: str, *, max_atoms: int, max_characters: int, standard: StandardiseConfig = AS_IT_IS
) -> str:
    """The canonical SMILES, of the standardised molecule if that is asked for, or `Rejected`."""
    molecule = parse(smiles, max_atoms=max_atoms, max_characters=max_characters)
    if standard != AS_IT_IS:
        molecule = standardise(molecule, standard)
    if ":" in smiles:  # map numbers label a reaction's atoms; they are no chemistry. `:` may also be a bond
        for atom in molecule.GetAtoms():
            atom.SetAtomMapNum(0)
    return Chem.MolToSmiles(molecule)


def _diagnose(smiles: str) -> str:
    """Why `MolFromSmiles` said no: parse again without sanitising, then see which step fails."""
    molecule = Chem.MolFromSmiles(smiles, sanitize=False)
    if molecule is None:
        return "reaction" if smiles.replace("->", "").count(">") == 2 else "syntax"
    failed = Chem.SanitizeMol(molecule, catchErrors=True)
    if failed == Chem.SanitizeFlags.SANITIZE_PROPERTIES:
        return "valence"
    if failed == Chem.SanitizeFlags.SANITIZE_KEKULIZE:
        return "kekulization"
    return "sanitization"
