"""The verification cache: which blobs were hashed, and what the file looked like then.

One tiny file per blob. A record holds while size, mtime, inode and device stay the same; every
ordinary way to change a file changes one of them. It does not see rot below the filesystem:
``verify --no-cache`` reads everything.

Where times are coarse (two seconds on FAT), a file may change twice at one time. So a file that
changed a moment ago is not recorded there: it is hashed once more when it is next asked for.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from pathlib import Path

from xttsreg.content.digest import Digest


def fingerprint(status: os.stat_result) -> str:
    """What a file looks like from outside; every ordinary way to change it changes this."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino} {status.st_dev}"


_COARSE_NS = 10_000_000  # exFAT counts in 10 ms, HFS+ in 1 s, FAT in 2 s; others are not so round
_COARSEST_NS = 2_000_000_000


def _may_change_unseen(status: os.stat_result) -> bool:
    """Whether the next change could leave the same time: it is coarse, and has not passed yet."""
    coarse = status.st_mtime_ns % _COARSE_NS == 0
    return coarse and time.time_ns() - status.st_mtime_ns < 2 * _COARSEST_NS


class VerifiedCache:
    """Records below one directory, and in memory where that is read-only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._memory: dict[Digest, str] = {}

    def covers(self, digest: Digest, status: os.stat_result) -> bool:
        """Whether this very file was hashed before and found right."""
        now = fingerprint(status)
        if self._memory.get(digest) == now:
            return True
        try:
            return (self._directory / digest.hex).read_text("ascii") == now
        except (OSError, ValueError):
            return False

    def record(self, digest: Digest, status: os.stat_result) -> None:
        """Remember that this file was hashed and found right."""
        if _may_change_unseen(status):
            self.forget(digest)
            return
        self._memory[digest] = fingerprint(status)
        temporary = self._directory / f"{digest.hex}.{uuid.uuid4().hex[:8]}"
        # Losing a record costs one more hash, so no fsync, and a read-only store is fine.
        with contextlib.suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            temporary.write_text(fingerprint(status), "ascii")
            temporary.replace(self._directory / digest.hex)

    def forget(self, digest: Digest) -> None:
        """Drop a record."""
        self._memory.pop(digest, None)
        with contextlib.suppress(OSError):
            (self._directory / digest.hex).unlink(missing_ok=True)
