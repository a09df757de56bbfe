"""Nothing is sent that was not hashed: clients of the hub check sizes only."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Literal

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.errors import (
    BlobNotFound,
    DigestMismatch,
    IntegrityError,
    SizeMismatch,
    XttsregError,
)
from xttsreg.stores.layout import LayoutStore

HASHING_THREADS = 2
State = Literal["right", "damaged", "missing", "unknown"]


class Proofs:
    """Opens blobs that are right, and remembers which are not.

    A blob is hashed once while the file stays as it is, however many ask for it at once; the
    store's verification cache keeps that over restarts. One that is wrong is not hashed again
    either until its file changes.

    Args:
        store: Whose.
    """

    def __init__(self, store: LayoutStore) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="xttsreg-hash")
        self._locks: dict[Digest, asyncio.Lock] = {}
        self._wrong: dict[Digest, tuple[object, IntegrityError]] = {}
        self._begun: set[asyncio.Task[None]] = set()
        self.hashed = 0
        self.hashed_bytes = 0

    async def open(self, blob: Descriptor) -> BinaryIO:
        """The blob's bytes, proven.

        Raises:
            BlobNotFound: it is not in the store.
            IntegrityError: it is damaged.
        """
        known = await asyncio.to_thread(self._open_known, blob)
        if known:
            return known
        lock = self._locks.setdefault(blob.digest, asyncio.Lock())
        async with lock:
            try:
                # Somebody may have hashed it while we waited.
                known = await asyncio.to_thread(self._open_known, blob)
                if known:
                    return known
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._pool, self._open_proven, blob)
            finally:
                self._locks.pop(blob.digest, None)

    async def read(self, blob: Descriptor) -> bytes:
        """All bytes of a small blob, proven."""
        file = await self.open(blob)
        with file:
            return await asyncio.to_thread(file.read)

    async def expect(self, blob: Descriptor) -> None:
        """Hash it in the background, if that is needed: it will be asked for soon.

        Raises:
            BlobNotFound, IntegrityError: it is known already that it cannot be sent.
        """
        known = await asyncio.to_thread(self._open_known, blob)
        if known:
            known.close()
            return
        task = asyncio.get_running_loop().create_task(self.prove_all([blob]))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    async def prove_all(self, blobs: Iterable[Descriptor]) -> None:
        """Hash what needs it, one after another, so that clients do not wait for it later."""
        for blob in blobs:
            with contextlib.suppress(XttsregError):
                (await self.open(blob)).close()

    def state(self, blob: Descriptor) -> State:
        """What is known about a blob now, without hashing."""
        try:
            known = self._open_known(blob)
        except BlobNotFound:
            return "missing"
        except IntegrityError:
            return "damaged"
        if known is None:
            return "unknown"
        known.close()
        return "right"

    @property
    def damaged(self) -> int:
        """How many blobs were found to be wrong."""
        return len(self._wrong)

    def close(self) -> None:
        """Let go of the threads; what is being hashed is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _open_known(self, blob: Descriptor) -> BinaryIO | None:
        wrong = self._wrong.get(blob.digest)
        if wrong:
            if wrong[0] == self._look(blob):
                raise wrong[1].with_traceback(None)
            self._wrong.pop(blob.digest, None)
        return self._store.open_known(blob)

    def _open_proven(self, blob: Descriptor) -> BinaryIO:
        look = self._look(blob)
        try:
            file = self._store.open_proven(blob)
        except (DigestMismatch, SizeMismatch) as error:
            self._wrong[blob.digest] = (look, error)
            raise
        finally:
            self.hashed += 1
            self.hashed_bytes += blob.size_bytes
        return file

    def _look(self, blob: Descriptor) -> object:
        try:
            status = os.stat(self._store.blob_path(blob.digest))  # noqa: PTH116 - one call
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns, status.st_ino
