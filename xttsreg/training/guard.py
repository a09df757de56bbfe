"""A fence around sockets: nothing leaves this machine while it is armed.

Python cannot remove an audit hook, so one is installed per process and does nothing until a guard
is armed. It sees every thread and every forked child; programs started anew are not covered.
"""

from __future__ import annotations

import ipaddress
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from xttsreg.errors import OfflineViolation

_BY_HOST = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
_BY_ADDRESS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_LOCAL_NAMES = {"", "localhost", "localhost.localdomain", "ip6-localhost", "0.0.0.0", "::"}
_IP_FAMILIES = {"AF_INET", "AF_INET6"}

# Transport code says nothing about who wanted the connection.
_TRANSPORT = {"urllib3", "requests", "httpx", "httpcore", "anyio", "aiohttp", __name__}
_STDLIB = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})


@dataclass
class OfflineGuard:
    """What an armed guard has seen. ``violations`` holds those that other code swallowed, too."""

    violations: list[OfflineViolation] = field(default_factory=list)


_lock = threading.Lock()
_armed: list[OfflineGuard] = []
_installed = False


@contextmanager
def offline_guard() -> Iterator[OfflineGuard]:
    """Refuse every connection and name look-up beyond loopback, in all threads.

    Local sockets (AF_UNIX, netlink) stay open. Guards may be nested.

    Yields:
        The guard; its ``violations`` can be read afterwards.

    Raises:
        OfflineViolation: at the place that tried to leave, with host and caller.
    """
    global _installed
    guard = OfflineGuard()
    with _lock:
        if not _installed:
            sys.addaudithook(_hook)
            _installed = True
        _armed.append(guard)
    try:
        yield guard
    finally:
        with _lock:
            # by identity: two guards without violations are equal
            _armed[:] = [other for other in _armed if other is not guard]


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _armed or not event.startswith("socket."):
        return
    if event in _BY_HOST:
        host = args[0]
    elif event == "socket.getnameinfo":
        host = args[0][0]
    elif event in _BY_ADDRESS:
        host = _target(args[0], args[1])
    else:
        return
    name = _as_text(host)
    if name is None or _is_local(name):
        return
    violation = OfflineViolation(host=name, caller=_caller(sys._getframe(1)))
    for guard in list(_armed):
        guard.violations.append(violation)
    raise violation


def _target(sock: Any, address: Any) -> Any:
    """Return the host that a socket call aims at; ``None`` if it stays on the machine."""
    family = getattr(getattr(sock, "family", None), "name", "")
    if family not in _IP_FAMILIES or not isinstance(address, tuple) or not address:
        return None
    return address[0]


def _as_text(host: Any) -> str | None:
    if isinstance(host, bytes | bytearray):
        return host.decode("ascii", "backslashreplace")
    return host if isinstance(host, str) else None


def _is_local(host: str) -> bool:
    if host.lower().rstrip(".") in _LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _caller(frame: FrameType | None) -> str:
    """Name the innermost frame that is neither the standard library nor a transport package."""
    fallback = "unknown code"
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "?"))
        here = f"{module}:{frame.f_lineno}"
        if module != __name__ and fallback == "unknown code":
            fallback = here
        if not _is_plumbing(module, frame.f_code.co_filename):
            return here
        frame = frame.f_back
    return fallback


def _is_plumbing(module: str, filename: str) -> bool:
    if module in _TRANSPORT or module.partition(".")[0] in _TRANSPORT:
        return True
    if filename.startswith("<frozen"):
        return True
    third_party = "site-packages" in filename or "dist-packages" in filename
    return filename.startswith(_STDLIB) and not third_party
