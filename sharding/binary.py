r"""RDKit's binary form of a molecule, decoded into a `Structure` without a Python call per atom.

    molecule  ->  Structure, equal to that of `structure.read_with_getters`

`Mol.ToBinary()` is a header, the two counts, then a record of a few bytes for each atom, bond and ring:
    atom   number, flags, 4 bytes that say which fields follow, then those: charge, chiral tag,
           hybridisation (absent: sp3), explicit hydrogens, valence, implicit hydrogens, radicals, isotope
    bond   the two atoms, flags, then, if flagged: type (absent: single), direction, stereo and its atoms
    ring   how many atoms, and those
(RDKit's GraphMol/MolPickler.cpp.) A regular expression cuts the records, which runs in C, and a dictionary
knows the kind of each record met before.

The layout is no public contract. So before its first use the reader is compared with the getters on `PROBES`,
and given up for this process if they differ; a record that has anything unforeseen (a query, an atom map, a
residue, more than 255 atoms) sends its molecule to the getters.
"""

import re
from functools import cache
from typing import Literal, NamedTuple

from rdkit import Chem

from sharding.structure import ATOMS, Atom, Joined, Structure, bond_kind, joined, read_with_getters

PROBES = (
    "C", "[H][H]", "[2H]C([2H])[2H]", "[13CH3][14CH2-]", "[CH3]", "[CH2]", "[O][O]", "[C-]#[O+]", "[U]",
    "[He]", "C[N+](C)(C)[O-]", "[Na+].[Cl-].[Ca+2]", "[Fe+2].c1cc[cH-]c1.c1cc[cH-]c1", "N[Pt@SP1](Cl)(Br)I",
    "N->[Pt](Cl)Cl", "O=[Os](=O)(=O)=O", "FS(F)(F)(F)(F)F", "C[Si](C)(C)C", "F[P-](F)(F)(F)(F)F",
    "B(O)(O)c1ccccc1",
    "C[C@H](N)C(=O)O", "CC(N)C(=O)O", "C[S@](=O)c1ccccc1", "C/C=C/C", "C/C=C\\C", "CC=CC", "F/C(Cl)=N/O",
    "C[C@H]1CC[C@@H](C)CC1", "C1CC2(C1)CC2", "C12C3C4C1C5C2C3C45", "C1C2CC3CC1CC(C2)C3", "C1CC1.C1CCCCC1",
    "c1ccc2c(c1)[nH]c1ccccc12", "O=c1[nH]c(=O)c2[nH]cnc2[nH]1", "[O-][n+]1ccccc1", "N#Cc1ccsc1", "CC~CC",
    "Cc1cccc(I)c1-c1c(C)cccc1N", "C=[N+]=[N-]", "C1" + "C" * 40 + "1", "C" * 255, "C" * 256,
    "C1" + "C" * 260 + "C1C/C=C/C", "N[C@@H](C)C(=O)N[C@@H](CS)C(=O)O",
    "CC1=C(C(=O)N2CCC[C@H]2C(=O)N[C@@H](Cc2ccc(O)cc2)C(=O)[O-])SC(=[NH2+])N1",
)  # fmt: skip
"""Every field, flag and section that the reader knows, and some that it must decline."""


class Reader(NamedTuple):
    """How this process reads molecules, and why."""

    name: Literal["binary", "getters"]
    reason: str


def read(molecule: Chem.Mol) -> Structure:
    """The structure of a sanitised molecule."""
    found = decode(molecule) if reader().name == "binary" else None
    return found if found is not None else read_with_getters(molecule)


@cache
def reader() -> Reader:
    """Compare both ways on `PROBES`; at least the ordinary ones of them must have been decoded."""
    declined = 0
    for smiles in PROBES:
        molecule = Chem.MolFromSmiles(smiles)
        found = decode(molecule)
        if found is None:
            declined += 1
        elif not same(found, read_with_getters(molecule)):
            return Reader("getters", f"RDKit's binary form of {smiles[:40]} is not what this version reads")
    if declined > len(PROBES) // 8:
        return Reader("getters", f"{declined} of {len(PROBES)} probes are in a form unknown to this version")
    return Reader("binary", f"equal to the getters on {len(PROBES) - declined} probes")


def same(first: Structure, second: Structure) -> bool:
    """Equal in everything that is read; the rest follows from it."""
    return (
        first.atoms == second.atoms
        and first.bonds == second.bonds
        and list(map(list, first.rings)) == list(map(list, second.rings))
    )


# --- layout ---

HEADER, RECORDS, ATOMS_BEGIN = 20, 30, b"\x80\x01"  # between: the two counts, 32 bits each
BONDS_BEGIN, RINGS_BEGIN = 0x0B, 0x42
MOST_ATOMS = 255  # with more, indices take four bytes
MOST_BONDS = 1 << 16  # that are remembered: 20 MB
AROMATIC, CONJUGATED = 0x40, 0x20
FIELDS = CHARGE, CHIRAL, HYBRIDISATION, HYDROGENS, VALENCE, IMPLICIT, RADICALS = 2, 4, 8, 16, 32, 64, 128
TYPE, DIRECTION, STEREO = 0x08, 0x04, 0x02
SP3, SINGLE = int(Chem.HybridizationType.SP3), int(Chem.BondType.SINGLE)


def _one_of(values: list[int]) -> bytes:
    return b"[" + b"".join(b"\\x%02x" % value for value in values) + b"]"


def _atom_pattern() -> re.Pattern[bytes]:
    """Bits 1 ... 7 of the field flags announce one byte each, bit 8 the four of an isotope."""
    forms = []
    for fields in (2, 3, 1, 4, 5, 0, 6, 7):  # the frequent first
        flags = _one_of([value for value in range(0, 256, 2) if value.bit_count() == fields])
        forms += [flags + b"\\x00{3}.{%d}" % fields, flags + b"\\x01\\x00\\x00.{%d}" % (fields + 4)]
    return re.compile(b"." + _one_of([0, 0x20, 0x40, 0x60]) + b"(?:" + b"|".join(forms) + b")", re.DOTALL)


def _bond_pattern() -> re.Pattern[bytes]:
    forms = []
    for announced in (0, TYPE, DIRECTION, TYPE | STEREO, TYPE | DIRECTION, TYPE | DIRECTION | STEREO, STEREO):
        flags = _one_of([announced | other for other in (0, CONJUGATED, AROMATIC, CONJUGATED | AROMATIC)])
        plain = (announced & (TYPE | DIRECTION)).bit_count()
        stereo = b".(?:\\x00|\\x02..)" if announced & STEREO else b""
        forms.append(flags + b".{%d}" % plain + stereo)
    return re.compile(b"..(?:" + b"|".join(forms) + b")", re.DOTALL)


_ATOM, _BOND = _atom_pattern(), _bond_pattern()


@cache
def _header() -> bytes:
    return Chem.MolFromSmiles("C").ToBinary()[:HEADER]


# --- decoding ---


class _AtomKinds(dict[bytes, int]):
    """Record of an atom -> its kind."""

    def __missing__(self, record: bytes) -> int:
        fields = int.from_bytes(record[2:4], "little")
        # the bytes that follow, by the flag that announces each
        value = dict(zip((flag for flag in FIELDS if fields & flag), record[6:], strict=False))
        charge = value.get(CHARGE, 0)
        atom = Atom(
            number=record[0],
            charge=charge - 256 if charge > 127 else charge,
            hydrogens=value.get(HYDROGENS, 0) + value.get(IMPLICIT, 0),
            aromatic=bool(record[1] & AROMATIC),
            radicals=value.get(RADICALS, 0),
            hybridisation=value.get(HYBRIDISATION, SP3),
        )
        return self.setdefault(record, ATOMS.number(atom))


class _Bonds(dict[bytes, Joined]):
    """Record of a bond, its two atoms included -> the bond. Emptied when full."""

    def __missing__(self, record: bytes) -> Joined:
        first, second, flags, *values = record
        type_ = values.pop(0) if flags & TYPE else SINGLE
        if flags & DIRECTION:
            values.pop(0)
        stereo = values.pop(0) if flags & STEREO else 0
        if len(self) == MOST_BONDS:
            self.clear()
        return self.setdefault(
            record, joined(first, second, bond_kind(type_, stereo, bool(flags & CONJUGATED)))
        )


_ATOM_KINDS, _BONDS = _AtomKinds(), _Bonds()


def decode(molecule: Chem.Mol) -> Structure | None:
    """The structure, or None for a molecule whose binary form has anything unforeseen."""
    atoms, bonds = molecule.GetNumAtoms(), molecule.GetNumBonds()
    data = molecule.ToBinary(0)  # without properties
    counts = atoms.to_bytes(4, "little") + bonds.to_bytes(4, "little")
    if atoms > MOST_ATOMS or not data.startswith(_header() + counts + ATOMS_BEGIN):
        return None
    atom_records, place = _cut(_ATOM, data, RECORDS, atoms)
    if place is None or data[place] != BONDS_BEGIN:
        return None
    bond_records, place = _cut(_BOND, data, place + 1, bonds)
    if place is None or data[place] != RINGS_BEGIN:
        return None
    return Structure(
        molecule,
        atoms=[_ATOM_KINDS[record] for record in atom_records],
        bonds=[_BONDS[record] for record in bond_records],
        rings=_rings(data, place + 1),
    )


def _cut(pattern: re.Pattern[bytes], data: bytes, start: int, count: int) -> tuple[list[bytes], int | None]:
    """The `count` records from `start` on, and where they end; None if one of them is unknown."""
    # reads on beyond the last, which costs less than a Python step for each record
    records = pattern.findall(data, start)[:count]
    joined = b"".join(records)
    unbroken = len(records) == count and data.startswith(joined, start)  # findall would skip the unknown
    return records, start + len(joined) if unbroken else None


def _rings(data: bytes, place: int) -> list[bytes]:
    """Bytes are sequences of small integers, so the rings stay as they are."""
    rings = []
    count = int.from_bytes(data[place : place + 4], "little")
    place += 4
    for _ in range(count):
        end = place + 1 + data[place]
        rings.append(data[place + 1 : end])
        place = end
    return rings
