"""Blobs in parts: their digests before they are written, and the bytes of one of them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from xttsreg.content.canonical import dump_canonical
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.stream import CHUNK_BYTES, Advance, Readable, VerifyingReader, no_advance
from xttsreg.stores import durable
from xttsreg.stores.layout import LayoutStore

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MEMORY = "parts"


def digest_parts(
    store: LayoutStore, blob: Descriptor, sizes: Sequence[int], advance: Advance = no_advance
) -> list[Digest]:
    """The digests of a blob's parts, in one pass; the store's state remembers them.

    Args:
        store: Has the blob.
        blob: The whole.
        sizes: Of the parts in order, in bytes.
        advance: Watches.

    Raises:
        DigestMismatch, SizeMismatch: the blob is damaged.
        BlobNotFound: it is not there.
    """
    key = Digest.of(dump_canonical([blob.digest, list(sizes)])).hex
    memory = store.state / _MEMORY / f"{key}.json"
    with contextlib.suppress(OSError, ValueError):
        known = [Digest(text) for text in json.loads(memory.read_bytes())]
        if len(known) == len(sizes):
            return known
    with store.open(blob) as raw:
        found = _digest_parts(VerifyingReader(raw, blob), sizes, advance)
    if store.is_writable():
        with durable.disk_errors(memory):
            durable.make_directory(memory.parent)
            temporary = memory.with_suffix(".tmp")
            durable.write_atomic(memory, dump_canonical(found), temporary=temporary)
    return found


def _digest_parts(whole: VerifyingReader, sizes: Sequence[int], advance: Advance) -> list[Digest]:
    found = []
    for size_bytes in sizes:
        hasher, part = hashlib.sha256(), Slice(whole, size_bytes)
        while chunk := part.read(CHUNK_BYTES):
            hasher.update(chunk)
            advance(len(chunk))
        found.append(Digest.from_hex(hasher.hexdigest()))
    whole.read(1)  # the end, where the digest of the whole is checked
    return found


class Slice:
    """The next ``size_bytes`` of a stream, as a stream."""

    def __init__(self, raw: Readable, size_bytes: int) -> None:
        self._raw = raw
        self._left_bytes = size_bytes

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes; empty at the end of the slice or of the stream."""
        wanted = self._left_bytes if size < 0 else min(size, self._left_bytes)
        data = self._raw.read(wanted) if wanted else b""
        self._left_bytes -= len(data)
        return data


class Joined(io.RawIOBase):
    """Several files one after the other, as one stream."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = iter(paths)
        self._file: BinaryIO | None = None

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer as far as one file goes; 0 at the end of the last."""
        while True:
            size = self._file.readinto(buffer) if self._file else 0  # type: ignore[attr-defined]
            if size:
                return int(size)
            path = next(self._paths, None)
            if path is None:
                return 0
            self._next(path)

    def _next(self, path: Path | None) -> None:
        if self._file:
            self._file.close()
        self._file = path.open("rb", buffering=0) if path else None

    def close(self) -> None:
        """Close the file that is open."""
        self._next(None)
        super().close()


def open_slice(raw: BinaryIO, offset_bytes: int, size_bytes: int) -> Slice:
    """A part of a seekable file."""
    raw.seek(offset_bytes)
    return Slice(raw, size_bytes)
