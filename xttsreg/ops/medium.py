"""What a medium can hold, found before the first byte is written."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from xttsreg.ops.spread import FAT32_FILE_BYTES, Limits
from xttsreg.stores.durable import existing_parent

_FAT = frozenset({"vfat", "msdos", "umsdos", "fuse.fusefat"})
_MOUNTS = Path("/proc/self/mountinfo")


def limits_of(directory: Path) -> Limits:
    """The limits of the medium on which a directory is, or will be.

    The longest file is known for FAT on Linux, and where the shell limits it (``ulimit -f``).
    Elsewhere the system refuses while a file is written, and the message says what to do.
    """
    place = existing_parent(directory)
    found = [_ulimit_bytes(), FAT32_FILE_BYTES if _filesystem(place) in _FAT else None]
    known = [limit for limit in found if limit is not None]
    return Limits(file_bytes=min(known) if known else None, block_bytes=_block_bytes(place))


def free_bytes(directory: Path) -> int:
    """What is free on the medium; very much where it does not say (some FUSE filesystems)."""
    usage = shutil.disk_usage(existing_parent(directory))
    return usage.free if usage.total else sys.maxsize


def _block_bytes(place: Path) -> int:
    size_bytes = os.statvfs(place).f_frsize if hasattr(os, "statvfs") else 0
    return max(Limits().block_bytes, size_bytes)


def _ulimit_bytes() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if soft == resource.RLIM_INFINITY else soft


def _filesystem(place: Path) -> str | None:
    """Its type, from the kernel's table of mounts; None where there is no such table."""
    device = place.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}" if hasattr(os, "major") else ""
    try:
        lines = _MOUNTS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    for line in lines:  # proc(5): id, parent, major:minor, root, mount point, options - type ...
        head, _, tail = line.partition(" - ")
        if head.split(" ")[2] == wanted:
            return tail.split(" ")[0]
    return None
