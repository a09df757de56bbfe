"""SHA-256 beside the work that brings the bytes."""

from __future__ import annotations

import hashlib
import threading
import weakref
from queue import SimpleQueue
from typing import TYPE_CHECKING

from xttsreg.content.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

_AHEAD = 4  # chunks; enough that neither side waits for the other's hiccups
_SHORT_BYTES = 2 * 1024 * 1024  # below, a thread costs more than it brings


class BackgroundHash:
    """SHA-256 in a thread of its own, a few chunks behind the caller.

    hashlib lets go of the interpreter while it works, so reading or writing goes on beside it: a
    long file takes as long as the slower of the two, not as both. Chunks are kept until they are
    hashed, four at most. What is abandoned ends by itself.

    Two queues and a thread, since a future for each chunk costs a third of the hash's own time.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._thread: threading.Thread | None = None
        self._todo: SimpleQueue[bytes | None] = SimpleQueue()
        self._done: SimpleQueue[None] = SimpleQueue()
        self._ahead = 0
        self._count_bytes = 0

    def update(self, data: bytes) -> None:
        """Append."""
        self._count_bytes += len(data)
        if self._count_bytes <= _SHORT_BYTES:
            self._hash.update(data)
            return
        if self._thread is None:
            self._start()
        if self._ahead < _AHEAD:
            self._ahead += 1
        else:
            self._done.get()
        self._todo.put(data)

    def digest(self) -> Digest:
        """Of everything so far."""
        if self._thread:
            self._todo.put(None)
            self._thread.join()
            self._thread = None
            self._done = SimpleQueue()
            self._ahead = 0
        return Digest.from_hex(self._hash.hexdigest())

    def _start(self) -> None:
        self._thread = threading.Thread(
            target=_work, args=(self._hash.update, self._todo, self._done), daemon=True,
            name="sha256",
        )  # fmt: skip
        weakref.finalize(self, self._todo.put, None)  # the thread holds the queues, not this
        self._thread.start()


def _work(
    update: Callable[[bytes], object],
    todo: SimpleQueue[bytes | None],
    done: SimpleQueue[None],
) -> None:
    while (data := todo.get()) is not None:
        update(data)
        done.put(None)
