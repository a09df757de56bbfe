"""Reading what is on a medium, not what the system remembers of it.

Right after writing, a read is answered from memory, whatever the stick holds. The drive's own
cache stays out of reach; only pulling the stick empties that.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from pathlib import Path
from typing import IO

from xttsreg.content.digest import Digest
from xttsreg.content.hashing import BackgroundHash
from xttsreg.content.stream import Advance, no_advance

_DIRECT_BYTES = 1024 * 1024  # nobody reads ahead of a direct read, so it had better be long
_REFUSED = {errno.EINVAL, errno.ENOTSUP}


def digest_past_cache(path: Path, advance: Advance = no_advance) -> Digest:
    """The digest of a file as the medium gives it.

    Raises:
        OSError: as the system says, bad sectors included.
    """
    hasher = BackgroundHash()
    # A mapping is aligned to pages, as direct reading wants it.
    with _open(path) as file, mmap.mmap(-1, _DIRECT_BYTES) as buffer, memoryview(buffer) as view:
        left_bytes = os.fstat(file.fileno()).st_size
        while left_bytes > 0:
            size = file.readinto(buffer)  # type: ignore[attr-defined]
            if not size:
                break
            hasher.update(bytes(view[:size]))
            left_bytes -= size
            advance(size)
    return hasher.digest()


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
