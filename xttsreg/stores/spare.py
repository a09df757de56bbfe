"""A second copy of the index, in the store's state: names are nowhere else.

Blobs name themselves by their digests, and come back from any copy that has them. A name that was
given here does not. So each index is written twice, the store's own first: whoever reads this one
reads what was true then, or one change before.

It begins with a line of its own: the sha256 of the copy, and what the file of the index looked like
when it was written. An index that has other bytes since, and looks the same, has rotted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from xttsreg.content.canonical import MAX_INDEX_BYTES
from xttsreg.content.manifest import Index
from xttsreg.errors import IntegrityError, InvalidManifest, StoreError
from xttsreg.stores import durable
from xttsreg.stores.verified import fingerprint

FILE = "names"


class IndexReader:
    """Reads one index, and parses it again only when it has other bytes.

    Args:
        path: Of the index.
        state: Where the copy lies.
    """

    def __init__(self, path: Path, state: Path) -> None:
        self._path = path
        self._state = state
        self._parsed: tuple[bytes, Index] | None = None

    def read(self) -> Index:
        """The index; an empty one if there has never been any.

        Raises:
            IntegrityError: it was there and is gone; whoever took that for an empty store would
                have `gc` remove everything.
            InvalidManifest, NewerFormat: malformed, or of a later version.
            OSError: the disk.
        """
        try:
            data = durable.read_small(self._path, MAX_INDEX_BYTES)
        except FileNotFoundError:
            if os.path.lexists(self._state / FILE):
                raise IntegrityError(
                    f"{self._path}: is gone, and with it the names",
                    hint="`xttsreg verify --repair` brings them back",
                ) from None
            return Index()
        parsed = self._parsed
        if parsed is None or parsed[0] != data:
            self._parsed = parsed = (data, Index.parse(data))
        return parsed[1]


def keep(state: Path, index: Path, data: bytes) -> None:
    """Write the copy. The caller holds the lock, and has just written the index."""
    # What was asked for is done by now; a disk that refuses this costs the copy, not the change.
    with contextlib.suppress(OSError):
        head = f"{hashlib.sha256(data).hexdigest()} {fingerprint(index.stat())}\n"
        durable.write_atomic(
            state / FILE, head.encode("ascii") + data, temporary=state / f"{FILE}.tmp"
        )


def read(state: Path) -> Index | None:
    """The copy; None if there is none, or it has rotted.

    Raises:
        StoreError: the disk does not give it. It may do so later, and whoever made up names
            meanwhile would have lost those in it.
    """
    try:
        _, data = _parts(state)
    except OSError as error:
        raise StoreError(
            f"{state / FILE}: {error.strerror}; this file has the names",
            hint="try again; if that stays so, remove it, and name a copy of it with --from",
        ) from error
    with contextlib.suppress(InvalidManifest):
        return Index.parse(data) if data else None
    return None


def differs(state: Path, index: Path) -> bool:
    """Whether an index has other bytes than were written, though nobody has written since."""
    with contextlib.suppress(OSError, IntegrityError):
        seen, data = _parts(state)
        if data and seen == fingerprint(index.stat()):
            return durable.read_small(index, MAX_INDEX_BYTES) != data
    return False


def _parts(state: Path) -> tuple[str, bytes]:
    """What the index looked like, and its bytes; empty if they are not what was written.

    Raises:
        OSError: the disk.
    """
    try:
        head, _, data = durable.read_small(state / FILE, MAX_INDEX_BYTES + 1000).partition(b"\n")
    except (FileNotFoundError, IntegrityError):
        return "", b""
    digest, _, seen = head.decode("ascii", "replace").partition(" ")
    return (seen, data) if hashlib.sha256(data).hexdigest() == digest else ("", b"")
