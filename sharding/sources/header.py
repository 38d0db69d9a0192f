"""The header of a table: where the wanted columns are, or one line about why they are not.

    names in the file, names wanted  ->  positions

Names are compared as they are written. Only a wanted name must be there once.
"""

from collections.abc import Sequence

from sharding.errors import UserError, did_you_mean
from sharding.sources.source import Columns


def positions(name: str, header: Sequence[str], columns: Columns) -> tuple[int, int | None]:
    """Position of the SMILES and of the id; None when no id is wanted."""
    return _position(name, header, columns.smiles), _position(
        name, header, columns.id
    ) if columns.id else None


def _position(name: str, header: Sequence[str], column: str) -> int:
    if not header:
        raise UserError(f"{name} has no header. Expected a column '{column}'.")
    if column not in header:
        near = did_you_mean(column, header)
        has = ", ".join(header) if len(header) <= 40 else f"{', '.join(header[:40])}, ..."
        hint = _separator(header) or near or _molecule(header)
        raise UserError(f"column '{column}' is not in {name}.{hint} It has: {has}.")
    if header.count(column) > 1:
        raise UserError(f"column '{column}' is in {name} {header.count(column)} times. Rename all but one.")
    return header.index(column)


def _separator(header: Sequence[str]) -> str:
    """A hint when a table read as one column has other separators than its name says."""
    other = [sign for sign in ("\t", ";", "|", ",") if len(header) == 1 and sign in header[0]]
    return f" Its columns look separated by {other[0]!r}: .csv means ',' and .tsv a tab." if other else ""


def _molecule(header: Sequence[str]) -> str:
    """A hint when the first row is no header but a molecule already."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        for field in header:
            if 2 < len(field) < 200 and Chem.MolFromSmiles(field) is not None:
                return f" Its first row has a molecule, '{field}': is the header row missing?"
    return ""
