"""What a user did that cannot work: one line that says what, what was expected and what to do.

A doorway prints a `UserError` without a traceback and leaves with exit code 2. Everything else is a
programming error and keeps its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake that the user can mend. The message is complete: what, expected, what to do."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'smiles'?`, or nothing when no known name is close."""
    spelled = {word.lower(): word for word in known}
    close = get_close_matches(name.lower(), list(spelled), n=1)
    return f" Did you mean '{spelled[close[0]]}'?" if close else ""
