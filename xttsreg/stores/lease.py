"""Leases: how `gc` knows what belongs to a living process.

A writer takes a lease before its first blob and gives it back after its last tag. A lease is a
lock that the kernel drops when the process dies, and a directory for temporary files with the
same name. So whatever belongs to a lease that can be locked is litter, without clocks or ages.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from xttsreg.errors import StoreLocked
from xttsreg.stores.durable import make_directory, remove_tree


@dataclass(frozen=True, slots=True)
class Lease:
    """A held lease.

    Attributes:
        directory: For temporary files; removed at the end.
    """

    directory: Path
    lock: FileLock

    def temporary(self) -> Path:
        """A new name for a temporary file."""
        return self.directory / uuid.uuid4().hex

    def close(self) -> None:
        """Remove the temporary files, give the lease back."""
        try:
            remove_tree(self.directory)
            Path(self.lock.lock_file).unlink(missing_ok=True)
        finally:
            self.lock.release()


def open_lease(state: Path) -> Lease:
    """Take a new lease. The caller holds the store's lock, so that `gc` sees it or waits."""
    leases, temporaries = state / "leases", state / "tmp"
    make_directory(leases)
    name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
    lock = FileLock(leases / f"{name}.lock", thread_local=False)
    lock.acquire(blocking=False)
    make_directory(temporaries / name)
    return Lease(temporaries / name, lock)


def dead_leases(state: Path) -> Iterator[Path]:
    """Temporary directories of processes that are gone; each is locked while it is yielded.

    Living leases are passed over. The caller holds the store's lock.
    """
    known = set()
    for path in sorted((state / "leases").glob("*.lock")):
        known.add(path.stem)
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            continue
        try:
            yield state / "tmp" / path.stem
            path.unlink(missing_ok=True)
        finally:
            lock.release()
    for directory in sorted((state / "tmp").glob("*")):
        if directory.name not in known:
            yield directory


def require_no_living_lease(state: Path) -> None:
    """Make sure that nobody is writing. The caller holds the store's lock.

    Raises:
        StoreLocked: names the process.
    """
    for path in sorted((state / "leases").glob("*.lock")):
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise StoreLocked(
                f"process {path.stem.partition('-')[0]} is writing to this store",
                hint="wait until it is done, then try again",
            ) from None
        lock.release()
