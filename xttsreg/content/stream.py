"""Reading foreign bytes with size and digest checked on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, BinaryIO, Protocol

from xttsreg.content.digest import Digest
from xttsreg.content.hashing import BackgroundHash
from xttsreg.errors import DigestMismatch, SizeMismatch

if TYPE_CHECKING:
    from xttsreg.content.descriptor import Descriptor

CHUNK_BYTES = 256 * 1024
"""Read size. Large enough that hashing dominates, small enough to be in the core's cache still
when it is hashed and written: a megabyte costs a quarter of the speed."""


Advance = Callable[[int], None]
"""Called with a number of bytes that have been dealt with."""


def no_advance(size_bytes: int) -> None:
    """The `Advance` that nobody watches."""


class Readable(Protocol):
    """Anything with ``read(n)``."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes; empty at the end."""


class VerifyingReader:
    """A reader that fails unless exactly the described bytes come out.

    Size is enforced while reading, so a lying source cannot make us take in more; digest and end
    of stream are checked when the end is reached. Bytes handed out before that are not proven.
    """

    def __init__(self, raw: Readable, expected: Descriptor, *, what: str | None = None) -> None:
        self._raw = raw
        self._expected = expected
        self._what = what or f"blob {expected.digest.short}"
        self._hash = BackgroundHash()
        self._count_bytes = 0

    def read(self, size: int = -1, /) -> bytes:
        """Read and hash.

        Raises:
            SizeMismatch: the source is longer, or ends early.
            DigestMismatch: at the end, if the bytes are not the expected ones.
        """
        limit = self._expected.size_bytes - self._count_bytes + 1
        data = self._raw.read(limit if size < 0 else min(size, limit))
        self._count_bytes += len(data)
        if self._count_bytes > self._expected.size_bytes:
            raise SizeMismatch(
                self._what,
                expected_bytes=self._expected.size_bytes,
                actual_bytes=self._count_bytes,
            )
        self._hash.update(data)
        if not data and size != 0:
            self._check_end()
        return data

    def read_to_end(self, advance: Advance = no_advance) -> None:
        """Read all of it only to check it.

        Raises:
            SizeMismatch, DigestMismatch: as `read`.
        """
        while chunk := self.read(CHUNK_BYTES):
            advance(len(chunk))

    def _check_end(self) -> None:
        expected = self._expected
        if self._count_bytes != expected.size_bytes:
            raise SizeMismatch(
                self._what, expected_bytes=expected.size_bytes, actual_bytes=self._count_bytes
            )
        actual = self._hash.digest()
        if actual != expected.digest:
            raise DigestMismatch(self._what, expected=expected.digest, actual=actual)


def read_verified(raw: Readable, expected: Descriptor, *, what: str | None = None) -> bytes:
    """All bytes of a small blob, proven.

    Raises:
        SizeMismatch: longer or shorter than described.
        DigestMismatch: other bytes.
    """
    reader = VerifyingReader(raw, expected, what=what)
    chunks = []
    while chunk := reader.read(CHUNK_BYTES):
        chunks.append(chunk)
    return b"".join(chunks)


def digest_stream(raw: BinaryIO, advance: Advance | None = None) -> tuple[Digest, int]:
    """Digest and length in bytes of everything up to the end of the stream."""
    hasher, count_bytes = BackgroundHash(), 0
    while chunk := raw.read(CHUNK_BYTES):
        hasher.update(chunk)
        count_bytes += len(chunk)
        if advance:
            advance(len(chunk))
    return hasher.digest(), count_bytes


def digest_chunks(chunks: Iterable[bytes], advance: Advance = no_advance) -> tuple[Digest, int]:
    """Digest and length in bytes of these pieces, one after another."""
    hasher, count_bytes = BackgroundHash(), 0
    for chunk in chunks:
        hasher.update(chunk)
        count_bytes += len(chunk)
        advance(len(chunk))
    return hasher.digest(), count_bytes


def prove(raw: BinaryIO, expected: Descriptor, advance: Advance | None = None) -> None:
    """Read all of it only to check it, in flat memory.

    Raises:
        SizeMismatch: longer or shorter than described.
        DigestMismatch: other bytes.
    """
    actual, count_bytes = digest_stream(raw, advance)
    what = f"blob {expected.digest.short}"
    if count_bytes != expected.size_bytes:
        raise SizeMismatch(what, expected_bytes=expected.size_bytes, actual_bytes=count_bytes)
    if actual != expected.digest:
        raise DigestMismatch(what, expected=expected.digest, actual=actual)
