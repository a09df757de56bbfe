"""Writing a blob: each byte taken once, hashed beside the writing, and on the disk at the end."""

from __future__ import annotations

import contextlib
from pathlib import Path

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.hashing import BackgroundHash
from xttsreg.content.stream import CHUNK_BYTES
from xttsreg.errors import DigestMismatch, SizeMismatch
from xttsreg.stores.durable import publish, sync_file
from xttsreg.stores.syncing import EarlySync

_WRITE_BYTES = 64 * 1024
"""At once, at most. Linux takes memory for its cache in pieces of what is written: it has pieces of
this size at hand, while longer ones, where memory is in pieces, may cost five times the writing."""


class BlobWriter:
    """Writes one blob: hashes beside the writing, refuses what is too long, publishes at `commit`.

    Args:
        temporary: The file to write, in the same filesystem as ``target``.
        target: Where the blob will be.
        expected: What it must turn out to be.
        resume: Keep and hash what ``temporary`` already holds, and go on behind it.
    """

    def __init__(
        self, temporary: Path, target: Path, expected: Descriptor, *, resume: bool = False
    ) -> None:
        self._temporary, self._target, self._expected = temporary, target, expected
        self._hash = BackgroundHash()
        self.offset_bytes = 0
        self.committed = False
        self._file = temporary.open("r+b" if resume and temporary.exists() else "w+b")
        self._early = EarlySync(self._file)
        if resume:
            self._take_over()

    def _take_over(self) -> None:
        while chunk := self._file.read(CHUNK_BYTES):
            self._hash.update(chunk)
            self.offset_bytes += len(chunk)
        if self.offset_bytes > self._expected.size_bytes:
            self.restart()

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            SizeMismatch: this is more than the blob has.
        """
        if self.offset_bytes + len(data) > self._expected.size_bytes:
            raise SizeMismatch(
                self._target.name,
                expected_bytes=self._expected.size_bytes,
                actual_bytes=self.offset_bytes + len(data),
            )
        self._hash.update(data)  # beside the writing
        view = memoryview(data)
        for start in range(0, len(data), _WRITE_BYTES):
            self._file.write(view[start : start + _WRITE_BYTES])
        self._early.wrote(len(data))
        self.offset_bytes += len(data)

    def restart(self) -> None:
        """Drop everything written so far."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = BackgroundHash()
        self.offset_bytes = 0

    def finish(self) -> Path:
        """Check and make durable; the file that `publish` takes.

        Raises:
            SizeMismatch, DigestMismatch: the bytes are not the blob; they are dropped, and the
                writer may be filled again from the start.
        """
        try:
            self._check()
        except (SizeMismatch, DigestMismatch):
            self.restart()
            raise
        self._early.close()
        sync_file(self._file)
        self._file.close()
        return self._temporary

    def commit(self, *, read_only: bool = True) -> None:
        """`finish` and `publish`."""
        publish(self.finish(), self._target, read_only=read_only)
        self.committed = True

    def _check(self) -> None:
        if self.offset_bytes != self._expected.size_bytes:
            raise SizeMismatch(
                self._target.name,
                expected_bytes=self._expected.size_bytes,
                actual_bytes=self.offset_bytes,
            )
        actual = self._hash.digest()
        if actual != self._expected.digest:
            raise DigestMismatch(self._target.name, expected=self._expected.digest, actual=actual)

    def keep(self) -> None:
        """Close, and leave what is there for a later `resume`."""
        if not self._file.closed:
            with contextlib.suppress(OSError):
                self._early.close()
            with contextlib.suppress(OSError):
                sync_file(self._file)
            with contextlib.suppress(OSError):  # a full disk refuses what is still in the buffer
                self._file.close()

    def discard(self) -> None:
        """Close and remove."""
        with contextlib.suppress(OSError):
            self._early.close()
        with contextlib.suppress(OSError):  # a full disk refuses what is still in the buffer
            self._file.close()
        self._temporary.unlink(missing_ok=True)
