"""Files that are written in pieces, in any order."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from xttsreg.content.stream import CHUNK_BYTES, Advance, Readable, no_advance
from xttsreg.stores.durable import sync_directory, sync_file
from xttsreg.stores.syncing import EarlySync


def write_at(
    path: Path, offset_bytes: int, source: Readable, advance: Advance = no_advance
) -> None:
    """Write a part of a larger file at its place, durably; the rest may come in any order."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    with os.fdopen(descriptor, "r+b") as file:
        file.seek(offset_bytes)
        with contextlib.closing(EarlySync(file)) as early:
            while chunk := source.read(CHUNK_BYTES):
                file.write(chunk)
                early.wrote(len(chunk))
                advance(len(chunk))
        sync_file(file)
    sync_directory(path.parent)
