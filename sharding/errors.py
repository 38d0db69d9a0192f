"""What a user did that cannot work: one line that says what, what was expected and what to do.

A doorway prints a `UserError` without a traceback and leaves with exit code 2. Everything else is a
programming error and keeps its traceback.
"""

import errno
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake that the user can mend. The message is complete: what, expected, what to do."""


class SharedMistake(UserError):
    """A mistake that all ranks raise together: the first one says it for all."""


class Ended(Exception):
    """Work that stopped before its end in good order: a complete line for the user, and an exit code of its own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'smiles'?`, or nothing when no known name is close."""
    spelled = {word.lower(): word for word in known}
    close = get_close_matches(name.lower(), list(spelled), n=1)
    return f" Did you mean '{spelled[close[0]]}'?" if close else ""


FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "read-only disk",
}


def full_disk(error: BaseException) -> UserError | None:
    """What to tell the user when the disk takes nothing more; None for any other error."""
    if not isinstance(error, OSError) or error.errno not in FULL:
        return None
    return UserError(
        f"{FULL[error.errno]}: cannot write {error.filename or 'to it'}. Make room and run the same command again: "
        "what is complete is kept."
    )
