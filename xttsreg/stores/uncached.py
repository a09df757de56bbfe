"""Reading what is on a medium, not what the system remembers of it.

Right after writing, a read is answered from memory, whatever the stick holds. The drive's own
cache stays out of reach; only pulling the stick empties that.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import sys
from pathlib import Path
from typing import IO

from xttsreg.content.digest import Digest
from xttsreg.content.stream import CHUNK_BYTES, Advance, no_advance

_REFUSED = {errno.EINVAL, errno.ENOTSUP}


def digest_past_cache(path: Path, advance: Advance = no_advance) -> Digest:
    """The digest of a file as the medium gives it.

    Raises:
        OSError: as the system says, bad sectors included.
    """
    hasher = hashlib.sha256()
    # A mapping is aligned to pages, as direct reading wants it.
    with _open(path) as file, mmap.mmap(-1, CHUNK_BYTES) as buffer, memoryview(buffer) as view:
        left_bytes = os.fstat(file.fileno()).st_size
        while left_bytes > 0:
            size = file.readinto(buffer)  # type: ignore[attr-defined]
            if not size:
                break
            with view[:size] as read:
                hasher.update(read)
            left_bytes -= size
            advance(size)
    return Digest.from_hex(hasher.hexdigest())


def _open(path: Path) -> IO[bytes]:
    """The file, to be read past the cache: directly, else after the cache has let go of it."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    if hasattr(os, "O_DIRECT"):
        try:
            return os.fdopen(os.open(path, flags | os.O_DIRECT), "rb", buffering=0)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
    file = os.fdopen(os.open(path, flags), "rb", buffering=0)
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(file.fileno(), fcntl.F_NOCACHE, 1)
    elif hasattr(os, "posix_fadvise"):
        os.fsync(file.fileno())  # the cache lets go of nothing that is not written
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return file
