"""What ``ls`` says, kept: a manifest never changes, so what was read of one holds for its digest.

The rows lie in the store's state under the digest of the index that they were made from. While the
index has these bytes they are the answer, and nothing else is read; when it has others, only
manifests that are not among the rows yet are read. Whether the manifests are still there and right
is what `verify` looks at, as for all files.

Loads neither pydantic nor the store unless rows have to be made: that takes longer than the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xttsreg import __version__
from xttsreg.errors import IntegrityError
from xttsreg.stores.durable import read_small, write_atomic
from xttsreg.stores.names import INDEX_FILE, LAYOUT, LAYOUT_FILE, STATE_DIRECTORY

if TYPE_CHECKING:
    from xttsreg.stores.layout import LayoutStore

FILE = f"{STATE_DIRECTORY}/listing"
_LIMIT_BYTES = 512 * 1024 * 1024

Rows = list[dict[str, Any]]


def current(root: Path) -> Rows | None:
    """The kept rows of the store at ``root``; None if they have to be made."""
    with contextlib.suppress(OSError, IntegrityError):
        seen, rows = _read(root)
        if (
            seen
            and seen == _digest_of_index(root)
            and read_small(root / LAYOUT_FILE, 1000) == LAYOUT
        ):
            return rows
    return None


def renew(store: LayoutStore) -> Rows:
    """The rows of `show.list_tags`, kept for the next time."""
    from xttsreg.ops.show import list_tags

    before, (_, rows) = _digest_of_index(store.root), _read(store.root)
    found = list_tags(store, {row["digest"]: row for row in rows})
    if before and before == _digest_of_index(store.root):
        _keep(store.root, before, found)
    return found


def _read(root: Path) -> tuple[str, Rows]:
    """Digest of the index, and rows. Nothing if they are another version's or have rotted."""
    with contextlib.suppress(OSError, ValueError, IntegrityError):
        head, _, data = read_small(root / FILE, _LIMIT_BYTES).partition(b"\n")
        version, of_index, of_rows = head.decode("ascii").split(" ")
        if version == __version__ and of_rows == _digest(data):
            return of_index, json.loads(data)
    return "", []


def _keep(root: Path, of_index: str, rows: Rows) -> None:
    """Keep rows for the next time. Losing them costs that time."""
    data = json.dumps(rows, separators=(",", ":")).encode("ascii")
    head = f"{__version__} {of_index} {_digest(data)}\n"
    path = root / FILE
    # A read-only store, or a layout that has no state of ours: then it is read each time.
    with contextlib.suppress(OSError):
        temporary = path.with_name(f"listing.{uuid.uuid4().hex}.tmp")
        write_atomic(path, head.encode("ascii") + data, temporary=temporary)


def _digest_of_index(root: Path) -> str:
    """Digest of its bytes; empty if there is none."""
    with contextlib.suppress(OSError, IntegrityError):
        return _digest(read_small(root / INDEX_FILE, _LIMIT_BYTES))
    return ""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
