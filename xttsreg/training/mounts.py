"""A read-only view in a private mount namespace: what stops even root from writing to a link.

Source: unshare(2), mount(2), mount_namespaces(7), user_namespaces(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_RDONLY = 1
_MS_REMOUNT = 32
_MS_BIND = 4096
_MS_REC = 16384
_MS_SLAVE = 1 << 19
_MNT_DETACH = 2
_KEPT = 2 | 4 | 8  # nosuid, nodev, noexec: a user namespace may not drop them

# Exit code 0 if nothing can be made in the directory because it is read-only (EROFS, not EACCES).
_TRY = """import errno, os, sys
try:
    os.close(os.open(os.path.join(sys.argv[1], "probe"), os.O_CREAT | os.O_WRONLY))
except OSError as error:
    sys.exit(error.errno != errno.EROFS)
sys.exit(1)
"""


def isolate(directory: Path) -> None:
    """Give this process, and those it starts, a read-only mount over a directory.

    For a process that has just been forked and has one thread. The mounts of everybody else stay
    as they are, and changes of theirs are still seen here.

    Args:
        directory: Mounted over itself.

    Raises:
        OSError: the system does not permit it; the process may be half-way.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWNS) != 0:
        _check(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS))
        map_own_ids(user, group)
    _let_go(libc)
    _mount_read_only(libc, directory)


@contextmanager
def read_only(directory: Path) -> Iterator[bool]:
    """Give root's own process a read-only mount over a directory, while the block lasts.

    Whoever is not root cannot write to a blob anyhow, by its mode. The calling thread, and what it
    starts, stays in a mount namespace of its own afterwards, and sees what changes outside.

    Args:
        directory: Mounted over itself.

    Yields:
        Whether it is mounted: a container may not permit it.
    """
    mounted = False
    if sys.platform.startswith("linux") and os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        with contextlib.suppress(OSError):
            _leave(libc)
            _mount_read_only(libc, directory)
            mounted = True
    try:
        yield mounted
    finally:
        if mounted:  # lazily: the files may still be mapped
            libc.umount2(os.fsencode(directory), _MNT_DETACH)


_left_for: set[str] = set()  # namespaces that were made here, and let go of


def _leave(libc: ctypes.CDLL) -> None:
    """Make sure that this thread has a mount namespace that is not everybody's."""
    if _namespace() not in _left_for:
        _check(libc.unshare(_CLONE_NEWNS))
        _let_go(libc)
        _left_for.add(_namespace())


def _namespace() -> str:
    return os.readlink("/proc/thread-self/ns/mnt")  # noqa: PTH115  it is no path


def _let_go(libc: ctypes.CDLL) -> None:
    """Keep mounts that are made here from everybody else."""
    _check(libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None))


def _mount_read_only(libc: ctypes.CDLL, directory: Path) -> None:
    path = os.fsencode(directory)
    _check(libc.mount(path, path, None, ctypes.c_ulong(_MS_BIND), None))
    flags = os.statvfs(directory).f_flag & _KEPT
    flags |= _MS_BIND | _MS_REMOUNT | _MS_RDONLY
    try:
        _check(libc.mount(None, path, None, ctypes.c_ulong(flags), None))
    except OSError:
        libc.umount2(path, _MNT_DETACH)
        raise


def can_isolate(directory: Path) -> bool:
    """Whether `isolate` is permitted here, tried in a process of its own."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _TRY, str(directory)],
            preexec_fn=lambda: isolate(directory),
            capture_output=True,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def map_own_ids(user: int, group: int) -> None:
    """Be who one was, in a user namespace that has just been made."""
    _write("setgroups", "deny")
    _write("uid_map", f"{user} {user} 1")
    _write("gid_map", f"{group} {group} 1")


def _write(name: str, text: str) -> None:
    with open(f"/proc/self/{name}", "w", encoding="ascii") as stream:  # noqa: PTH123
        stream.write(text)
