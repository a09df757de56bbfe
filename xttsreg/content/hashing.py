"""SHA-256 beside the work that brings the bytes."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING

from xttsreg.content.digest import Digest

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_AHEAD = 4  # chunks; enough that neither side waits for the other's hiccups
_SHORT_BYTES = 2 * 1024 * 1024  # below, a thread costs more than it brings


class BackgroundHash:
    """SHA-256 in a thread of its own, a few chunks behind the caller.

    hashlib lets go of the interpreter while it works, so reading or writing goes on beside it: a
    long file takes as long as the slower of the two, not as both. Chunks are kept until they are
    hashed, four at most. What is abandoned ends by itself.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pool: ThreadPoolExecutor | None = None
        self._pending: deque[Future[None]] = deque()
        self._count_bytes = 0

    def update(self, data: bytes) -> None:
        """Append."""
        self._count_bytes += len(data)
        if self._count_bytes <= _SHORT_BYTES:
            self._hash.update(data)
            return
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(1, thread_name_prefix="sha256")
        while len(self._pending) >= _AHEAD:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._hash.update, data))

    def digest(self) -> Digest:
        """Of everything so far."""
        while self._pending:
            self._pending.popleft().result()
        if self._pool:
            self._pool.shutdown()
            self._pool = None
        return Digest.from_hex(self._hash.hexdigest())
