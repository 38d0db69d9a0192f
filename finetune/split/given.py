"""Splits that the user brings: a file of row numbers, a column that names the part, a column that tells the time.

r rows of a table, of which some molecules can be used.
    file, or a column (r)  ->  Split of the usable rows
"""

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from finetune.split.parts import PARTS, Split
from sharding.errors import UserError
from sharding.files import read_json

SPELLINGS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
} | {
    "test": "test",
    "testing": "test",
}
"""How tables name the parts; case ignored."""


def read_split(path: Path, rows: Sequence[int], n_rows: int) -> Split:
    """The user's split, less the rows whose SMILES were rejected. Rows that it leaves out are not used."""
    expected = 'Expected JSON {"train": [rows], "valid": [rows], "test": [rows]}, rows from 0.'
    if not path.is_file():
        raise UserError(f"split_file {path} does not exist. {expected}")
    try:
        parts = read_json(path)
    except ValueError as error:
        raise UserError(f"split_file {path} is not JSON ({error}). {expected}") from error
    if not isinstance(parts, dict) or set(parts) != set(PARTS):
        raise UserError(f"split_file {path} has other parts than train, valid and test. {expected}")
    seen: set[int] = set()
    for part in PARTS:
        members = parts[part] if isinstance(parts[part], list) else [parts[part]]
        for row in members:
            if not isinstance(row, int) or isinstance(row, bool) or not 0 <= row < n_rows:
                raise UserError(
                    f"split_file {path}: {part} holds {row!r}; the table has rows 0 to {n_rows - 1}. "
                    f"{expected}"
                )
            if row in seen:
                raise UserError(f"split_file {path}: row {row} stands twice. Give each row one part.")
            seen.add(row)
    usable = set(rows)
    return Split(**{part: sorted(usable.intersection(parts[part])) for part in PARTS})


def column_split(rows: Sequence[int], values: Sequence[str], column: str) -> Split:
    """As a column says; rows without a value are not used. values (r) are of the whole table."""
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    for row in sorted(rows):
        text = values[row].strip().lower()
        if not text:
            continue
        if text not in SPELLINGS:
            raise UserError(
                f"split_column '{column}' holds '{values[row]}' in row {row}. Expected train, valid or test, or "
                "nothing where a row is not used. For dates or numbers use split=time."
            )
        parts[SPELLINGS[text]].append(row)
    return Split(**parts)


def time_split(rows: Sequence[int], values: Sequence[str], column: str, fractions: Sequence[float]) -> Split:
    """The earliest train, the latest test. values (r): numbers, or dates as 2024-05-31; equal ones stay together.

    Rows of one time at a border go to the earlier part: nothing in a part is older than what comes before it.
    """
    times = {row: _time(values[row], column, row) for row in rows}
    ordered = sorted(rows, key=lambda row: (times[row], row))
    first = _border(ordered, times, round(fractions[0] * len(ordered)))
    second = max(first, _border(ordered, times, round((fractions[0] + fractions[1]) * len(ordered))))
    return Split(sorted(ordered[:first]), sorted(ordered[first:second]), sorted(ordered[second:]))


def _border(ordered: Sequence[int], times: dict[int, float], place: int) -> int:
    """The first place from here on where the time changes."""
    while 0 < place < len(ordered) and times[ordered[place]] == times[ordered[place - 1]]:
        place += 1
    return place


def _time(text: str, column: str, row: int) -> float:
    try:
        found = float(text)
    except ValueError:
        try:
            return float(datetime.fromisoformat(text.strip()).toordinal())
        except ValueError:
            found = math.nan
    if not math.isfinite(found):
        raise UserError(
            f"split_column '{column}' holds '{text}' in row {row}. Expected a number or a date as 2024-05-31 "
            "in every row."
        )
    return found
