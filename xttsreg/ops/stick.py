"""A directory that is or becomes one volume of a bundle: what lies in it, and whose it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from xttsreg.content.bundle import BLOBS, LISTING, PARTS, UNLISTED
from xttsreg.errors import InvalidInputError
from xttsreg.ops import smallfiles
from xttsreg.stores.durable import disk_errors
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.names import LAYOUT_FILE, STATE_DIRECTORY

# What operating systems leave on every medium they see; never read, never carried.
SYSTEM_LITTER = frozenset(
    {"System Volume Information", "$RECYCLE.BIN", ".DS_Store", ".Spotlight-V100", ".Trashes",
     ".fseventsd", "lost+found", ".Trash-0", ".Trash-1000", "FOUND.000", STATE_DIRECTORY}
)  # fmt: skip
_BLOBS, _PARTS = BLOBS.partition("/")[0], PARTS.partition("/")[0]
_MAX_DEPTH = 10
_OURS = frozenset({*smallfiles.NAMES, *UNLISTED, _BLOBS, _PARTS})


def walk(directory: Path) -> Iterator[tuple[str, int | None]]:
    """Relative path and size of every file; size None for what is no regular file."""
    pending = [""]
    while pending:
        prefix = pending.pop()
        if prefix.count("/") > _MAX_DEPTH:
            yield prefix[:100], None  # none of ours; and longer paths cannot be opened
            continue
        with disk_errors(directory), os.scandir(directory / prefix) as entries:
            for entry in entries:
                if not prefix and (entry.name in SYSTEM_LITTER or entry.name.startswith("._")):
                    continue
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    pending.append(f"{prefix}{entry.name}/")
                else:
                    regular = stat.S_ISREG(status.st_mode)
                    yield prefix + entry.name, status.st_size if regular else None


def require_ours(directory: Path, store: LayoutStore) -> None:
    """Make sure that a bundle may be written here: it removes what it does not need.

    Raises:
        StoreError: the disk does not say what is in it.
        InvalidInputError: the directory holds something else than a bundle, or it is a store.
    """
    with disk_errors(directory):
        if not directory.exists():
            return
        if not directory.is_dir():
            raise InvalidInputError(f"{directory}: not a directory")
        names = {path.name for path in directory.iterdir()} - SYSTEM_LITTER
    names = {name for name in names if not name.startswith("._")}
    foreign = names - _OURS
    if foreign or (names - {_BLOBS} and LAYOUT_FILE not in names):
        raise InvalidInputError(
            f"{directory}: holds other things than a bundle ({sorted(foreign or names)[0]})",
            hint="give an empty directory, e.g. a folder on the stick",
        )
    is_store = smallfiles.INDEX in names and not names & {smallfiles.README, LISTING}
    if is_store or directory.resolve() == store.root.resolve():
        raise InvalidInputError(
            f"{directory}: is a store, not a bundle",
            hint="give an empty directory, e.g. a folder on the stick",
        )
