"""Which files are meant: paths, addresses, globs and folders become sources.

    "data/*.smi.gz" | "s3://bucket/zinc/" | [several of them]  ->  [Source, ...] sorted by address, each once

A folder means the files of known kinds right in it; `folder/**` means all below it, but for linked folders.
A glob means the files of known kinds among those it matches. Hidden files are passed over in both. A name
without `*` that exists is taken as it is, whatever brackets it has. Anything that would run a command is
refused.
"""

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from sharding.errors import UserError, did_you_mean
from sharding.sources.source import COMPRESSIONS, KINDS, PARQUET, Source
from sharding.sources.stream import WEB, file_system, transport

ENDINGS = f"{', '.join(KINDS)}; all but .parquet also {' or '.join(COMPRESSIONS)}"
REFUSED = ("pipe", "dask", "jupyter", "jlab", "pyscript", "reference")
"""They run a command, or code that another place holds."""
STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "Last-Modified", "updated", "created")


def find(patterns: str | Sequence[str]) -> list[Source]:
    """The sources that the patterns mean. A string is one pattern, commas or not."""
    found: dict[tuple[Any, str], Source] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        _check_protocol(pattern)
        system, path = file_system(pattern)
        with transport(pattern):
            system.invalidate_cache()
            files = _files(pattern, system, path)
        for file, info in files.items():
            found[system, file] = _source(pattern, system, path, file, info)
    if not found:
        raise UserError("no input is given. Expected files, folders or addresses of molecules.")
    return sorted(found.values(), key=lambda source: source.url)


def _check_protocol(pattern: str) -> None:
    if not pattern.strip():
        raise UserError("an input is empty. Expected a file, a folder or an address of molecules.")
    links = [re.match(r"([A-Za-z][\w+.-]*):", link) for link in pattern.split("::")]
    refused = [link[1] for link in links if link and link[1].lower() in REFUSED]
    if refused or pattern.strip().startswith("|") or pattern.strip().endswith("|"):
        raise UserError(
            f"input '{pattern}' would run a command, which no input may. Store its output in a file."
        )
    if "://" not in pattern:
        return
    from fsspec import available_protocols

    for protocol in (link.split("://")[0] for link in pattern.split("::")):
        if re.fullmatch(r"[A-Za-z][\w+.-]*", protocol) and protocol not in available_protocols():
            near = did_you_mean(protocol, available_protocols())
            raise UserError(f"input '{pattern}': protocol '{protocol}' is unknown.{near}")


def _files(pattern: str, system: Any, path: str) -> dict[str, dict[str, Any]]:
    """Every file that one pattern means, with what its file system says about it."""
    info = None if "*" in path else _info(system, path)
    if info is None and not _is_glob(path):
        raise UserError(f"input '{pattern}' does not exist.{_neighbour(system, path)}")
    if info is None:
        place, entries = "it matches", system.glob(path, detail=True)
    elif info["type"] == "directory" or pattern.endswith("/"):  # to HTTP a folder is a file as well
        place = "the folder has"
        entries = {entry["name"]: entry for entry in system.ls(path, detail=True)}
    elif info["type"] == "file":
        return {path: info}
    else:
        raise UserError(f"input '{pattern}' is no regular file, and is read twice. Store it in a file.")
    known = {name: _followed(system, name, entry) for name, entry in entries.items() if _kind(name)[0]}
    files = {n: entry for n, entry in known.items() if entry["type"] == "file" and not _hidden(n, path)}
    if not files:
        names = ", ".join(sorted(PurePosixPath(name).name for name in entries)[:5]) or "nothing"
        raise UserError(f"input '{pattern}': {place} no file of molecules, but {names}. Expected {ENDINGS}.")
    return files


def _followed(system: Any, name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """A listing does not say what its links lead to."""
    followed = _info(system, name) if entry.get("islink") else entry
    if followed is None:
        raise UserError(f"{name} is a link to a file that does not exist.")
    return followed


def _info(system: Any, path: str) -> dict[str, Any] | None:
    try:
        info: dict[str, Any] = system.info(path)
    except FileNotFoundError as error:
        if path.startswith(WEB) and error.__cause__:  # any failure of a server; its own words say which
            raise
        return None
    return info


def _is_glob(path: str) -> bool:
    """A question mark in a web address begins its query."""
    return re.search(r"\*" if path.startswith(WEB) else r"[*?\[]", path) is not None


def _hidden(name: str, path: str) -> bool:
    """Whether a file, or a folder on the way to it, begins with a point that the pattern does not spell."""
    spelled = [part for part in path.split("/") if part.startswith(".")]
    points = [part for part in name.split("/") if part.startswith(".")]
    return any(part not in spelled and not any(map(partial(fnmatch, part), spelled)) for part in points)


def _neighbour(system: Any, path: str) -> str:
    folder, _, name = path.rpartition("/")
    try:
        names = [PurePosixPath(entry).name for entry in system.ls(folder or "/", detail=False)]
    except (OSError, NotImplementedError, ValueError):  # a hint is not worth a second error
        return ""
    return did_you_mean(name, names)


def _kind(path: str) -> tuple[str, str]:
    """Kind and compression, by the ending; two empty strings when it is none of ours."""
    name = PurePosixPath(urlsplit(path).path if path.startswith(WEB) else path)
    ending = name.suffix.lower()
    compression = COMPRESSIONS.get(ending, "")
    kind = KINDS.get(PurePosixPath(name.stem).suffix.lower() if compression else ending, "")
    return ("", "") if compression and kind == PARQUET else (kind, compression)


def _source(pattern: str, system: Any, path: str, file: str, info: dict[str, Any]) -> Source:
    url = _address(pattern, system, path, file)
    kind, compression = _kind(file)
    if not kind:
        raise UserError(f"{url}: unknown kind of file '{PurePosixPath(file).suffix}'. Expected {ENDINGS}.")
    if info.get("size") == 0:
        raise UserError(f"{url} is empty. Expected molecules.")
    if "local" in system.protocol and not os.access(file, os.R_OK):
        raise UserError(f"{url} cannot be read: Permission denied.")
    stamp = next((str(info[key]) for key in STAMPS if info.get(key)), "")
    return Source(url, kind, compression, info.get("size"), stamp)


def _address(pattern: str, system: Any, path: str, file: str) -> str:
    """The address of a file that a pattern led to: the pattern's host and links of a chain stay."""
    if "local" in system.protocol:
        return file
    head, chain, tail = pattern.rstrip("/").partition("::")
    for typed, rest in ((head, chain + tail), (pattern.rstrip("/"), "")):
        if typed.endswith(path):
            return typed.removesuffix(path) + file + rest
    return str(system.unstrip_protocol(file))
