"""No network at all for a process: a network namespace of its own, with loopback alone.

What the audit hook of `guard` cannot see ends here, too: programs started anew, C extensions, name
look-ups of the C library, multicast. The hook stays armed, since it names host and caller.

Source: unshare(2), network_namespaces(7), user_namespaces(7), netdevice(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import sys

from xttsreg.training.mounts import map_own_ids

VARIABLE = "XTTSREG_NETWORK"
"""``hook`` leaves the namespace out, e.g. for a service of this machine on loopback."""

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
WAYS = {
    "namespace": "cut off by the kernel, in a network namespace with loopback alone",
    "hook": "guarded by Python's audit hook; programs started anew and C extensions are not",
}
_way = "hook"


def way() -> str:
    """How this process is kept off the network while a guard is armed: ``namespace``, ``hook``."""
    return _way


def cut_off() -> None:
    """Leave the network, for good: this process and all that it starts.

    For a process that has one thread. Root, and who may make user namespaces, can do that.

    Raises:
        OSError: the system does not permit it.
    """
    global _way
    if not sys.platform.startswith("linux"):
        raise OSError("only Linux has network namespaces")
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWNET) != 0:
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        map_own_ids(user, group)
    _loopback_up()
    _way = "namespace"


def cut_off_if_possible() -> str:
    """`cut_off` where that is permitted and wanted; the way that was taken."""
    if os.environ.get(VARIABLE) != "hook" and can_cut_off():
        with contextlib.suppress(OSError):  # a program with threads may not make user namespaces
            cut_off()
    return _way


def can_cut_off() -> bool:
    """Whether `cut_off` is permitted here, tried in a process of its own."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", ""],
            preexec_fn=cut_off, capture_output=True, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _loopback_up() -> None:
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        asked = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack("16sH14x", asked)[1] | _IFF_UP
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))
