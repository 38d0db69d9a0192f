"""Secrets stay out of a run folder: what is written there has them replaced first.

    text or a tree of them  ->  the same with [redacted] where a secret stood
Secret is what the environment says: the value of every variable whose name has KEY, TOKEN, SECRET, PASSWORD or
CREDENTIAL in it, wherever that value stands, as it is or as addresses quote it, and each long line of one that
has several (a private key in a patch). So is the user and password of an address, and what it passes under such
a name (`?token=...`).

Values of fewer than 6 characters and words of settings (`offline`) are left: they stand everywhere. Enumerations
and numbers are no text, so a configuration keeps its types. A secret that is in no variable and no address is
not known here.
"""

import os
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any
from urllib.parse import quote

MASK = "[redacted]"
NAME = r"KEY|TOKEN(?!IZ)|SECRET|PASSWORD|PASSWD|CREDENTIAL"
"""In the name of a variable that holds a secret. TOKENIZERS_PARALLELISM holds none."""
SHORTEST, LONG_LINE = 6, 16
"""Characters of a value, and of a line of it, that is looked for by itself."""
WORDS = frozenset({"default", "disabled", "enabled", "offline", "online"})
"""Values of settings, not of secrets."""
USER_INFO = re.compile(r"(?<=://)[^/\s'\"@]+(?:@[^/\s'\"@]+)*(?=@)")
PASSED = re.compile(rf"([?&;][\w.-]*(?:{NAME}|SIGNATURE)[\w.-]*=)[^&;#\s'\"]+", re.IGNORECASE)


def secrets(environment: Mapping[str, str] | None = None) -> list[str]:
    """What must not be written, the longest first: one may be part of another."""
    found: set[str] = set()
    for name, value in (os.environ if environment is None else environment).items():
        if re.search(NAME, name, re.IGNORECASE) and value.lower() not in WORDS:
            found |= {value.strip(), quote(value.strip(), safe="")}
            found |= {line.strip() for line in value.splitlines() if len(line.strip()) >= LONG_LINE}
    return sorted((one for one in found if len(one) >= SHORTEST), key=len, reverse=True)


def redact(value: Any, known: list[str] | None = None) -> Any:
    """A text, or every text in a tree of dictionaries and lists, their keys included."""
    known = secrets() if known is None else known
    if isinstance(value, str) and not isinstance(value, Enum):
        for secret in known:
            value = value.replace(secret, MASK)
        return PASSED.sub(rf"\1{MASK}", USER_INFO.sub(MASK, value))
    if isinstance(value, Mapping):
        return {redact(key, known): redact(item, known) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item, known) for item in value]
    return value
