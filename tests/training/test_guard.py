"""The fence around sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.request

import pytest
import requests

from xttsreg.errors import OfflineViolation
from xttsreg.training.guard import offline_guard

FAR = "192.0.2.1"  # reserved for documentation, never routed


def test_raw_connection_names_host_and_caller():
    with socket.socket() as sock, offline_guard(), pytest.raises(OfflineViolation) as caught:
        sock.connect((FAR, 443))
    assert caught.value.host == FAR
    assert caught.value.caller.startswith(f"{__name__}:")
    assert caught.value.exit_code == 7


@pytest.mark.parametrize(
    "leave",
    [
        lambda: requests.get("https://coqui.gateway.scarf.sh/x", timeout=5),
        lambda: urllib.request.urlopen("http://coqui.gateway.scarf.sh/x", timeout=5),
        lambda: socket.create_connection(("coqui.gateway.scarf.sh", 80), timeout=5),
    ],
    ids=["requests", "urllib", "socket"],
)
def test_name_lookups_are_refused_and_the_transport_is_not_the_caller(leave, monkeypatch):
    for name in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    with offline_guard(), pytest.raises(OfflineViolation) as caught:
        leave()
    assert caught.value.host == "coqui.gateway.scarf.sh"
    assert caught.value.caller.startswith(f"{__name__}:")


def test_datagrams_are_refused():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, offline_guard():
        with pytest.raises(OfflineViolation):
            sock.sendto(b"x", (FAR, 53))
        with pytest.raises(OfflineViolation):
            sock.sendmsg([b"x"], [], 0, (FAR, 53))


def test_ipv6_and_connect_ex_are_refused():
    with socket.socket(socket.AF_INET6) as sock, offline_guard():
        with pytest.raises(OfflineViolation):
            sock.connect_ex(("2001:db8::1", 443))
        with pytest.raises(OfflineViolation):
            sock.connect_ex(("::ffff:192.0.2.1", 443))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.9.1"])
def test_loopback_is_allowed(host):
    with socket.create_server(("", 0)) as server, offline_guard() as guard:
        # below `unshare -n` loopback itself may be down: an OSError, and no violation
        sock = socket.socket()
        sock.connect_ex((host, server.getsockname()[1]))
        sock.close()
    assert guard.violations == []


def test_unix_sockets_are_allowed():
    with offline_guard() as guard:
        left, right = socket.socketpair()
        left.sendall(b"x")
        assert right.recv(1) == b"x"
        left.close()
        right.close()
        with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError, match="No such file"):
            sock.connect("/nowhere/socket")
    assert guard.violations == []


def test_swallowed_violations_are_recorded():
    with offline_guard() as guard, contextlib.suppress(Exception):
        requests.get(f"http://{FAR}/", timeout=5)
    assert [violation.host for violation in guard.violations] == [FAR]


def test_other_threads_are_guarded():
    seen = []

    def leave():
        with contextlib.suppress(Exception):
            socket.getaddrinfo("example.org", 80)
        seen.append(True)

    with offline_guard() as guard:
        thread = threading.Thread(target=leave)
        thread.start()
        thread.join()
    assert seen == [True]
    assert [violation.host for violation in guard.violations] == ["example.org"]


def test_nested_guards_and_release():
    with offline_guard() as outer:
        with offline_guard() as inner, pytest.raises(OfflineViolation):
            socket.gethostbyname("example.org")
        with pytest.raises(OfflineViolation):
            socket.gethostbyname("example.com")
    assert [violation.host for violation in inner.violations] == ["example.org"]
    assert [violation.host for violation in outer.violations] == ["example.org", "example.com"]
    with socket.socket() as sock:  # disarmed: the attempt is allowed, whatever comes of it
        sock.settimeout(0.01)
        with contextlib.suppress(OSError):
            sock.connect((FAR, 443))
