"""What is in a molecule by RDKit: how many of a group, a ring system, an element or a counted quantity.

    molecule, Name  ->  least and most: every count between them is a true statement

After the tables of `chemistry_names`, which LGM-CL (arXiv 2601.22610) has no counterpart of: there nothing
checks what the language model says.
The describer's tables are the reference and are applied here by their definition, not by the describer's
code, so that the one can catch the other. *Least* is the narrow reading (a group by the table's precedence, a
ring system that stands alone), *most* the wide one (every match: a lactone is an ester, the benzene of an
indole a benzene). Chemists count both ways, and a text may.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from sharding.text.chemistry_names import FUNCTIONAL_GROUPS, RING_SYSTEMS, FunctionalGroup, element

MATCHES = 1 << 20
"""RDKit stops at 1,000 matches by default, and then undercounts."""
GENERAL: dict[str, str] = {
    "amide": "[#6](=O)[#7]", "carboxamide": "[#6](=O)[#7]", "cyclic amide": "[#6](=O)@[#7]",
    "amine": "[NX3,NX4+;!$(N~[!#6;!#1]);!$(N[#6]=[O,S])]", "amino": "[NX3,NX4+]", "aniline": "[NX3,NX4+]c",
    "alcohol": "[OX2H1][CX4]", "hydroxyl": "[OX2H1]", "hydroxy": "[OX2H1]", "phenol": "[OX2H1]c",
    "ether": "[OX2;!$(O[#6]=[O,S,N])]([#6])[#6]", "aryl ether": "[OX2](c)[#6]", "methoxy": "[OX2][CH3]",
    "ethoxy": "[OX2][CH2][CH3]", "ethyl group": "[CH2][CH3]", "alkoxy": "[OX2]([#6])[CX4]", "carbonyl": "[#6]=O",
    "carboxyl": "[CX3](=O)[OX2H1,OX1-]", "thiocarbonyl": "[#6]=S", "ester": "[#6](=O)[#8;D2,D3]",
    "cyclic ester": "[#6](=O)@[#8]", "boronic ester": "[BX3][OX2H0]", "carbamate": "[#7][#6](=O)[#8;D2,D3]",
    "phosphate ester": "[PX4](=O)([OX2][#6])([#8])[#8]", "urea": "[#7][#6](=O)[#7]",
    "sulfate ester": "[SX4](=O)(=O)([OX2][#6])[#8]", "thiourea": "[#7][#6](=S)[#7]",
    "sulfonamide": "[SX4](=O)(=O)[#7]", "sulfonyl": "[SX4](=O)=O", "sulfinyl": "[SX3]~[OX1]",
    "sulfide": "[SX2]([#6])[#6]", "amidine": "[#6](=[#7])[#7]", "cyano": "[CX2]#[NX1]", "methyl": "[CH3]",
    "acetyl": "[CX3](=O)[CH3]", "benzyl": "[CX4]c1ccccc1", "halogen": "[F,Cl,Br,I]",
    "halide": "[F,Cl,Br,I]", "fluoro": "F", "chloro": "Cl", "bromo": "Br", "iodo": "I", "azo": "[#7]=[#7]",
}  # fmt: skip
"""Names wider than the table's, as models and people use them. Of a name that the table has too this is the
wide reading: the describer itself says `joined by a urea` of every N-CO-N."""
RADICALS = {
    "phenyl": "benzene", "naphthyl": "naphthalene", "pyridyl": "pyridine", "thienyl": "thiophene",
    "furyl": "furan", "morpholino": "morpholine", "piperidino": "piperidine", "quinolyl": "quinoline",
    "oxane": "tetrahydropyran", "oxolane": "tetrahydrofuran",
}  # fmt: skip
"""Other words for ring systems of the table; the regular ones (`piperazinyl`) are derived."""
AMBIGUOUS_ELEMENTS = frozenset((1, 6, 82))  # in everything; in everything; a verb


def rotatable_bonds(molecule: Chem.Mol) -> int:
    """The describer's count: terminal bonds and rings excluded, amides not."""
    return rdMolDescriptors.CalcNumRotatableBonds(
        molecule, rdMolDescriptors.NumRotatableBondsOptions.NonStrict
    )


def stereocentres(molecule: Chem.Mol) -> int:
    """Of a copy where pickling lost what was perceived: RDKit would raise."""
    if not molecule.HasProp("_StereochemDone"):
        molecule = Chem.Mol(molecule)
        Chem.AssignStereochemistry(molecule, cleanIt=True, flagPossibleStereoCenters=True)
    return rdMolDescriptors.CalcNumAtomStereoCenters(molecule)


QUANTITIES: dict[str, Callable[[Chem.Mol], int]] = {
    "heavy atom": Chem.Mol.GetNumHeavyAtoms,
    "hydrogen-bond donor": rdMolDescriptors.CalcNumLipinskiHBD,
    "hydrogen bond donor": rdMolDescriptors.CalcNumLipinskiHBD,
    "hydrogen-bond acceptor": rdMolDescriptors.CalcNumLipinskiHBA,
    "hydrogen bond acceptor": rdMolDescriptors.CalcNumLipinskiHBA,
    "acceptor": rdMolDescriptors.CalcNumLipinskiHBA,
    "donor": rdMolDescriptors.CalcNumLipinskiHBD,
    "rotatable bond": rotatable_bonds,
    "stereocentre": stereocentres,
    "stereocenter": stereocentres,
    "separate component": lambda molecule: len(Chem.GetMolFrags(molecule)),
}
"""Counts that the describer states, by its definitions."""


class Kind(StrEnum):
    """What a name stands for."""

    group = "group"
    ring = "ring"
    element = "element"
    quantity = "quantity"


@dataclass(frozen=True, slots=True)
class Name:
    """One thing that a text can name."""

    kind: Kind
    name: str


@cache
def names() -> dict[str, Name]:
    """Every form, in lower case, singular and plural -> what it stands for. Tables win over general names."""
    forms: dict[str, Name] = {}

    def add(kind: Kind, name: str, *singular: str, plural: str = "") -> None:
        for form in singular:
            forms.setdefault(form.lower(), Name(kind, name))
            forms.setdefault((plural or f"{form}s").lower(), Name(kind, name))

    for group in FUNCTIONAL_GROUPS:
        add(Kind.group, group.name, group.name, plural=group.plural)
        add(Kind.group, group.name, group.name.removesuffix(" group"))
    for name in RING_SYSTEMS:
        add(Kind.ring, name, name, name.removesuffix("e") + "yl")
        if name.startswith("cyclo") and name.endswith("ane"):
            add(Kind.ring, name, name.removesuffix("ane") + "yl")
    for form, name in RADICALS.items():
        add(Kind.ring, name, form)
    for name in GENERAL:
        add(Kind.group, name, name)
    for number in set(range(5, 93)) - AMBIGUOUS_ELEMENTS:
        add(Kind.element, element(number), element(number), f"{element(number)} atom")
    for name in QUANTITIES:
        add(Kind.quantity, name, name)
    return forms


class Evidence:
    """A molecule, asked for one name after the other. Nothing is matched that no text names."""

    def __init__(self, molecule: Chem.Mol) -> None:
        self.molecule = molecule
        self._by_table: dict[str, int] | None = None

    def most(self, name: Name) -> int:
        """By the wide reading."""
        if name.kind is Kind.quantity:
            return QUANTITIES[name.name](self.molecule)
        if name.kind is Kind.element:
            return sum(element(atom.GetAtomicNum()) == name.name for atom in self.molecule.GetAtoms())
        if name.kind is Kind.ring:
            return len(self._matches(_ring(name.name)))
        wide = self._matches(_pattern(GENERAL[name.name])) if name.name in GENERAL else ()
        group = _groups().get(name.name)
        narrow = self._matches(_pattern(group.pattern)) if group else ()
        identity = group.identity if group else 1
        return max(len(set(wide)), len({frozenset(match[:identity]) for match in narrow}))

    def least(self, name: Name) -> int | None:
        """By the narrow reading. A general name and an element (of which ring or chain?) have none."""
        if name.kind is Kind.quantity:
            return QUANTITIES[name.name](self.molecule)
        if name.kind is Kind.ring:
            return self._standing_alone(name.name)
        if name.kind is Kind.group and name.name in _groups():
            return self._count_by_table()[name.name]
        return None

    def _matches(self, query: Chem.Mol) -> tuple[tuple[int, ...], ...]:
        return self.molecule.GetSubstructMatches(query, maxMatches=MATCHES)

    def _count_by_table(self) -> dict[str, int]:
        """`FunctionalGroup`'s rule, pattern by pattern."""
        if self._by_table is None:
            used: set[int] = set()
            self._by_table = {}
            for name, group in _groups().items():
                found = [
                    match
                    for match in self._matches(_pattern(group.pattern))
                    if used.isdisjoint(match[: group.identity])
                ]
                self._by_table[name] = len({frozenset(match[: group.identity]) for match in found})
                used.update(atom for match in found for atom in match[: group.uses])
        return self._by_table

    def _standing_alone(self, name: str) -> int:
        """Matches that are a fused system of their own, with what hangs on it by double bonds: no more, no less."""
        query = _ring(name)
        inside = [atom.GetIdx() for atom in query.GetAtoms() if atom.IsInRing()]
        hanging = query.GetNumAtoms() - len(inside)
        whole = {atoms for atoms in self._systems() if self._double_bonds_out_of(atoms) == hanging}
        return len(whole & {frozenset(match[atom] for atom in inside) for match in self._matches(query)})

    def _systems(self) -> list[frozenset[int]]:
        """Atoms of each fused ring system: rings merged when they share a bond."""
        systems: list[tuple[set[int], set[int]]] = []  # bonds and atoms
        rings = self.molecule.GetRingInfo()
        for ring_bonds, ring_atoms in zip(rings.BondRings(), rings.AtomRings(), strict=True):
            bonds, atoms = set(ring_bonds), set(ring_atoms)
            for system in [system for system in systems if system[0] & bonds]:
                systems.remove(system)
                bonds |= system[0]
                atoms |= system[1]
            systems.append((bonds, atoms))
        return [frozenset(atoms) for _, atoms in systems]

    def _double_bonds_out_of(self, atoms: frozenset[int]) -> int:
        return sum(
            bond.GetBondType() == Chem.BondType.DOUBLE and bond.GetOtherAtomIdx(index) not in atoms
            for index in atoms
            for bond in self.molecule.GetAtomWithIdx(index).GetBonds()
        )


@cache
def _groups() -> dict[str, FunctionalGroup]:
    return {group.name: group for group in FUNCTIONAL_GROUPS}


@cache
def _pattern(smarts: str) -> Chem.Mol:
    return Chem.MolFromSmarts(smarts)


@cache
def _ring(name: str) -> Chem.Mol:
    """The table's entry as a query: elements and bonds, no hydrogens or charges, as in the table's rule."""
    return Chem.MolFromSmiles(RING_SYSTEMS[name])
