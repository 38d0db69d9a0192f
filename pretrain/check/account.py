"""The lines of a check: what was looked at, whether it is well, and what to do where it is not."""

from collections.abc import Callable

from pretrain.checkpoint.agreement import gather

WIDTH = 13
SAID = 5
"""Problems of a subject that are said one by one."""


class Account:
    """Rank 0 prints each line as it is known; every rank counts the problems, the same ones."""

    def __init__(self, *, enabled: bool, say: Callable[[str], None] = print) -> None:
        self.enabled, self.say, self.problems = enabled, say, 0

    def ok(self, subject: str, found: str) -> None:
        """It is well."""
        self._line("ok", subject, found)

    def note(self, subject: str, found: str) -> None:
        """It works, and could be better."""
        self._line("note", subject, found)

    def problem(self, subject: str, found: str) -> None:
        """It would go wrong; the text says what to do."""
        self.problems += 1
        self._line("problem", subject, found)

    def problems_of(self, subject: str, mine: list[str]) -> bool:
        """Every rank's problems with its part, said by the first; whether there was any. All ranks call it."""
        found = [told for theirs in gather(mine) for told in theirs]
        for told in found[:SAID]:
            self.problem(subject, told)
        if found[SAID:]:
            self.problem(subject, f"and {len(found) - SAID:,} more")
        return bool(found)

    def close(self) -> None:
        """The last line."""
        if self.enabled:
            many = "s" * (self.problems > 1)
            self.say(f"{self.problems} problem{many}" if self.problems else "this run would work here")

    def _line(self, mark: str, subject: str, found: str) -> None:
        if self.enabled:
            self.say(f"{mark:9s}{subject:{WIDTH}s}{found}")
