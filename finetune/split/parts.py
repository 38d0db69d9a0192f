"""A split: three lists of a table's rows, their identity, and what must hold of them.

{train, valid, test}: rows of the table from 0, sorted; no row is in two parts
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Split:
    """Rows of the table, from 0, sorted; no row is in two parts."""

    train: list[int]
    valid: list[int]
    test: list[int]

    def __post_init__(self) -> None:
        assert len({*self.train, *self.valid, *self.test}) == sum(self.sizes.values()), (
            "a row is in two parts"
        )

    @property
    def parts(self) -> dict[str, list[int]]:
        """{part: rows}."""
        return {part: getattr(self, part) for part in PARTS}

    @property
    def sizes(self) -> dict[str, int]:
        """{part: number of rows}."""
        return {part: len(rows) for part, rows in self.parts.items()}

    @property
    def sha256(self) -> str:
        """Identity: the digest of the canonical JSON (sorted keys, no spaces)."""
        text = json.dumps(self.parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def assert_no_group_straddles(split: Split, group_of: Mapping[int, object], kind: str = "scaffold") -> None:
    """A group in two parts is a mistake of this room, not the user's."""
    home: dict[object, str] = {}
    for part, rows in split.parts.items():
        for row in rows:
            owner = home.setdefault(group_of[row], part)
            assert owner == part, f"{kind} {group_of[row]!r} is in {owner} and in {part}"
