"""What a request's path and Range may look like. Pure; whatever is odd is refused here."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

MAX_PATH_BYTES = 4096
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class BadPath(ValueError):
    """A path that no client of ours sends by honest means."""


def split_path(raw_path: str) -> tuple[str, ...]:
    """The segments of a path as it was sent, each decoded once.

    An escaped slash would make one segment two to whoever decodes later, so it is refused like
    ``..``, a backslash, a NUL and other control characters. Empty segments are refused as well,
    but for a slash at the end.

    Raises:
        BadPath: says what is wrong with it.

    >>> split_path("/coqui/XTTS-v2/resolve/main/a%20b.json")
    ('coqui', 'XTTS-v2', 'resolve', 'main', 'a b.json')
    """
    path = raw_path.partition("?")[0].partition("#")[0]
    if len(path) > MAX_PATH_BYTES:
        raise BadPath(f"longer than {MAX_PATH_BYTES} bytes")
    if not path.startswith("/"):
        raise BadPath("is not absolute")
    path = path[1:].removesuffix("/")
    return tuple(map(_segment, path.split("/"))) if path else ()


def _segment(text: str) -> str:
    if _BROKEN_ESCAPE.search(text):
        raise BadPath("has a broken escape")
    try:
        segment = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise BadPath("is not UTF-8") from None
    if segment in ("", ".", ".."):
        raise BadPath("has an empty segment, or one that leads elsewhere")
    if any(c in "/\\" or ord(c) < 32 or ord(c) == 127 for c in segment):
        raise BadPath("has an escaped slash, a backslash or a control character")
    return segment


def byte_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """First byte, and one past the last, that a Range header asks for.

    Several ranges, other units and nonsense are answered with the whole, as RFC 9110, 14.2
    permits: many small ranges over one file are how servers are worn down.

    Returns:
        None for the whole; an empty range (start >= end) if nothing of it exists: that is a 416.

    >>> byte_range("bytes=2-3", 10), byte_range("bytes=-3", 10), byte_range("bytes=10-", 10)
    ((2, 4), (7, 10), (10, 10))
    """
    match = _RANGE.fullmatch((header or "").strip())
    if not match or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return max(0, size_bytes - int(last)), size_bytes
    if last and int(last) < int(first):
        return None
    end = min(size_bytes, int(last) + 1) if last else size_bytes
    return int(first), end
