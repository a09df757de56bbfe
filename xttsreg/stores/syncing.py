"""Syncs that come at other times than at the end of a file: earlier, or once for many files."""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

_EARLY_BYTES = 64 * 1024 * 1024
_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS and Windows have the second only


class EarlySync:
    """Has the disk write what there is of a file while more comes.

    So little is left to wait for at the end, and a slow stick takes what was reported as written:
    no more than twice 64 MiB are on their way.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None
        self._count_bytes = 0

    def wrote(self, size_bytes: int) -> None:
        """Count what was written.

        Raises:
            OSError: of an earlier sync.
        """
        self._count_bytes += size_bytes
        if self._count_bytes >= _EARLY_BYTES:
            self._count_bytes = 0
            self._wait()
            self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="sync")
            self._pending = self._pool.submit(_sync_data, self._file.fileno())

    def close(self) -> None:
        """Wait for the last of them. Before the file is closed: its number may be another's then.

        Raises:
            OSError: of that sync.
        """
        try:
            self._wait()
        finally:
            if self._pool:
                self._pool.shutdown()
                self._pool = None

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending:
            pending.result()


def sync_filesystem(directory: Path) -> None:
    """Make everything that was written to this filesystem so far survive a power cut."""
    if sys.platform != "linux":
        if hasattr(os, "sync"):
            os.sync()  # of all filesystems: the others have no call for one
        return
    import ctypes

    descriptor = os.open(directory, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(descriptor)
