"""The feature table: an atom is 8 small integers worth 39 inputs, a bond 4 worth 10.

A `one_hot` column of width w holds 0 ... w-1, or w for a value outside the table (all inputs zero, counted
as unknown); a `number` column holds the number itself; a `flags` column of width w holds w bits.

After AttentiveFP (Xiong et al. 2020, table 1), which LGM-CL (arXiv 2601.22610, table 1) takes over. There a
degree above 5 and the CIS / TRANS stereo labels raise an error; here they are the unknown value. No chemistry
is needed to read it: who only trains imports this, and no RDKit.
"""

from typing import Literal, NamedTuple


class Column(NamedTuple):
    """One stored integer and the inputs it stands for."""

    name: str
    kind: Literal["one_hot", "number", "flags"]
    meaning: tuple[str, ...]

    @property
    def width(self) -> int:
        """How many inputs of an encoder the integer becomes."""
        return len(self.meaning)


SYMBOLS = ("B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "As", "Se", "Br", "Te", "I", "At")

ATOM_COLUMNS = (
    Column("symbol", "one_hot", (*SYMBOLS, "other")),
    Column("degree", "one_hot", ("0", "1", "2", "3", "4", "5")),
    Column("formal_charge", "number", ("e",)),
    Column("radical_electrons", "number", ("count",)),
    Column("hybridisation", "one_hot", ("SP", "SP2", "SP3", "SP3D", "SP3D2", "other")),
    Column("aromatic", "number", ("yes",)),
    Column("hydrogens", "one_hot", ("0", "1", "2", "3", "4")),
    Column("chirality", "flags", ("R", "S", "possible")),
)
BOND_COLUMNS = (
    Column("type", "one_hot", ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")),
    Column("conjugated", "number", ("yes",)),
    Column("in_ring", "number", ("yes",)),
    Column("stereo", "one_hot", ("STEREONONE", "STEREOANY", "STEREOZ", "STEREOE")),
)
ATOM_INPUTS = sum(column.width for column in ATOM_COLUMNS)  # 39
BOND_INPUTS = sum(column.width for column in BOND_COLUMNS)  # 10
