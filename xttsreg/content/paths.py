"""File names from manifests and bundles: checked once, here, before they touch a disk.

A name must mean the same file on Linux, macOS, Windows and FAT32, and must stay inside its
directory. The rules close the holes of oras-go GHSA-8xwf-rjm4-xvhv and Ollama CVE-2024-45436.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from xttsreg.errors import UnsafePath

_MAX_CHARS = 240  # FAT32 and many others take 255 UTF-16 units a name; leave room for a suffix
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"\\|?*]')
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.I)


def check_relative_path(path: str) -> str:
    """Return ``path`` if it is a safe relative posix path, e.g. ``wavs/a.wav``.

    Raises:
        UnsafePath: absolute, empty, with ``.`` or ``..``, backslash, colon, control characters,
            a trailing dot or space, or a device name of Windows.

    >>> check_relative_path("wavs/a.wav")
    'wavs/a.wav'
    """
    if len(path) > _MAX_CHARS:
        raise UnsafePath(f"unsafe file name {path[:60]!r}...: longer than {_MAX_CHARS} characters")
    for part in path.split("/") if path else [""]:
        problem = _problem(part)
        if problem:
            raise UnsafePath(f"unsafe file name {path[:200]!r}: {problem}")
    return path


def check_distinct_paths(paths: Iterable[str]) -> None:
    """Make sure that all names can exist beside each other, on every filesystem.

    Raises:
        UnsafePath: two fall together where case or the form of accents does not count, or one is
            a file and a directory at once. Names the two.
    """
    seen: dict[str, str] = {}
    for path in paths:
        folded = _folded(path)
        if folded in seen:
            raise UnsafePath(f"{seen[folded]!r} and {path!r} are one file on FAT32 and macOS")
        seen[folded] = path
    for folded, path in seen.items():
        parts = folded.split("/")
        for above in ("/".join(parts[:i]) for i in range(1, len(parts))):
            if above in seen:
                raise UnsafePath(f"{seen[above]!r} would be a file and the directory of {path!r}")


def _folded(path: str) -> str:
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def _problem(part: str) -> str | None:
    if part in ("", ".", ".."):
        return f"{part!r} is not a name"
    if _FORBIDDEN.search(part):
        return "it has a character that some filesystems forbid"
    if part[-1] in ". ":
        return "it ends in a dot or a space"
    if _DEVICES.fullmatch(part):
        return f"{part!r} is a device on Windows"
    try:
        part.encode("utf-8")
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return None
