"""The only code that changes files in a store: whole or not at all, also when the plug is pulled.

The order is restic's: temporary file in the same filesystem, write, check, fsync, rename, fsync
of the directory. Until the rename nobody sees the file; after it, its bytes are on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from xttsreg.content.stream import Advance, VerifyingReader
from xttsreg.errors import (
    InsufficientSpace,
    IntegrityError,
    ReadOnlyMedia,
    StoreError,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from xttsreg.content.descriptor import Descriptor

_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def disk_errors(path: Path, needed_bytes: int = 0) -> Iterator[None]:
    """Turn what the system says about a disk into our errors.

    Raises:
        InsufficientSpace, ReadOnlyMedia, StoreError: by errno.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, (ConnectionError, TimeoutError)):
            raise  # of a socket or of requests, whose errors are OSErrors too: not the disk's
        if error.errno in _FULL:
            free_bytes = shutil.disk_usage(existing_parent(path)).free
            raise InsufficientSpace(
                str(path), needed_bytes=needed_bytes, free_bytes=free_bytes
            ) from error
        if error.errno == errno.EFBIG:
            raise StoreError(
                f"{error.filename or path}: the medium, or `ulimit -f`, takes no file so long",
                hint="FAT32 ends at 4294967295 bytes: `bundle --max-file-size` splits files; "
                "a store needs another filesystem",
            ) from error
        if error.errno in _READ_ONLY:
            raise ReadOnlyMedia(
                f"{error.filename or path}: {error.strerror}",
                hint="give a place you may write to, with -o, --store or XTTSREG_HOME",
            ) from error
        raise StoreError(f"{error.filename or path}: {error.strerror}") from error


class BlobFile(io.FileIO):
    """A blob, open for reading. What the medium cannot read is damaged, and says so by name."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "r")
        self._path = path

    def read(self, size: int | None = -1, /) -> bytes:
        """As `io.FileIO`, with an `IntegrityError` for a bad medium."""
        with self._named():
            return super().read(-1 if size is None else size)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """As `io.FileIO`, with an `IntegrityError` for a bad medium."""
        with self._named():
            return super().readinto(buffer)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise IntegrityError(f"{self._path}: {error.strerror}") from error


def read_small(path: Path, limit_bytes: int) -> bytes:
    """A small file of ours; of a longer one, enough to see that it is too long.

    Raises:
        IntegrityError: a link, a device or a pipe lies in its place.
        OSError: it is not there, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise IntegrityError(f"{path}: a link, where a file should be") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # before fdopen, which takes no directory
        os.close(descriptor)
        raise IntegrityError(f"{path}: not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit_bytes + 1)


def existing_parent(path: Path) -> Path:
    """The nearest directory on the way up that is there."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def sync_directory(directory: Path) -> None:
    """Make renames and new names in a directory survive a power cut."""
    if os.name == "nt":
        return  # Windows has no such call; NTFS journals names
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # FAT and some FUSE and network filesystems refuse fsync on directories.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """``mkdir -p``, each new name durable."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    with contextlib.suppress(FileExistsError):
        directory.mkdir()
    sync_directory(directory.parent)


def sync_file(file: IO[bytes]) -> None:
    """Flush a file to the medium itself, the drive's cache included where the system can."""
    file.flush()
    if sys.platform == "darwin":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(file.fileno(), fcntl.F_FULLFSYNC)
            return
    os.fsync(file.fileno())


def write_atomic(target: Path, data: bytes, *, temporary: Path, mode: int = 0o666) -> None:
    """Replace a small file: readers see the old bytes or the new ones, never a mixture.

    Args:
        target: The file.
        data: What it will hold.
        temporary: A free name in the same filesystem.
        mode: Permissions from the first byte on, less the umask; 0600 for secrets.
    """
    try:
        with open(temporary, "wb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
            file.write(data)
            sync_file(file)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(target.parent)


def check_file(path: Path, expected: Descriptor, *, what: str, advance: Advance) -> None:
    """Hash a file in place; remove it if it is not what it should be.

    Raises:
        SizeMismatch, DigestMismatch: and ``path`` is gone.
    """
    try:
        with path.open("rb", buffering=0) as file:
            VerifyingReader(file, expected, what=what).read_to_end(advance)
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def remove_tree(directory: Path) -> None:
    """Remove a directory of temporary files; what is gone already is fine."""
    shutil.rmtree(directory, ignore_errors=True)


def give_way(path: Path) -> None:
    """Remove a directory that lies where a file belongs: a rename does not replace it."""
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)


def _make_read_only(path: Path) -> None:
    """Where the system knows that: FAT below FUSE has no such call, others do not permit it.

    For those who may read it by the umask that it was made under.
    """
    try:
        path.chmod(path.stat().st_mode & 0o444)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP):
            raise


def publish(temporary: Path, target: Path, *, read_only: bool = True) -> None:
    """Give a finished, synced file its name. Read-only from now on, where the system knows that."""
    if read_only:
        _make_read_only(temporary)
    make_directory(target.parent)
    temporary.replace(target)
    sync_directory(target.parent)
