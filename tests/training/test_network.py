"""The kernel's own fence: a network namespace, tried with what an audit hook cannot see."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys

import pytest

from xttsreg.training import network

FAR = "192.0.2.1"  # reserved for documentation, never routed
_C = """
import ctypes, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
sock = libc.socket(2, {kind}, 0)
address = struct.pack("=HH4s8x", 2, __import__("socket").htons({port}), bytes({host}))
sent = libc.{call}
sys.exit(0 if sent == -1 and ctypes.get_errno() == 101 else 3)
"""
CONNECT = _C.format(
    kind=1, port=80, host=[int(part) for part in FAR.split(".")],
    call="connect(sock, address, len(address))",
)  # fmt: skip
MULTICAST = _C.format(
    kind=2, port=5353, host=[224, 0, 0, 251],
    call='sendto(sock, b"x", 1, 0, address, len(address))',
)  # fmt: skip
LOOK_UP = """
import ctypes, sys
found = ctypes.c_void_p()
code = ctypes.CDLL(None).getaddrinfo(b"example.org", b"80", None, ctypes.byref(found))
sys.exit(0 if code else 3)
"""
LOOPBACK = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    with socket.create_connection(server.getsockname(), timeout=5) as client:
        peer, _ = server.accept()
        peer.sendall(b"here"); peer.close()
        assert client.recv(9) == b"here"
left, right = socket.socketpair(); left.sendall(b"x"); assert right.recv(1) == b"x"
"""
INTERFACES = "import socket; assert [name for _, name in socket.if_nameindex()][:1] == ['lo']"


@pytest.fixture(autouse=True)
def permitted() -> None:
    if not network.can_cut_off():
        pytest.skip("network namespaces are not permitted here")


def inside(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, preexec_fn=network.cut_off, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "program",
    [CONNECT, MULTICAST, LOOK_UP, LOOPBACK, INTERFACES],
    ids=["C: connect", "C: multicast", "C: look-up", "loopback works", "loopback alone"],
)
def test_inside_a_namespace(program: str) -> None:
    done = inside(sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr


def test_other_programs_are_cut_off_too() -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    done = inside("curl", "-sS", "--max-time", "5", f"http://{FAR}/")
    assert done.returncode == 7, done.stderr  # could not connect, at once


def test_the_process_around_it_keeps_its_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = inside(
            sys.executable,
            "-c",
            f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)",
        )
        assert done.returncode != 0  # its loopback is another one
        socket.create_connection(("127.0.0.1", port), 5).close()


def test_several_processes_meet_on_loopback(tts: None) -> None:
    """What torch.distributed does, with the backend that needs no GPU."""
    program = """
import os, sys, torch, torch.distributed as dist, torch.multiprocessing as mp
def work(rank):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29571")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    value = torch.ones(1); dist.all_reduce(value); assert value.item() == 2
    dist.destroy_process_group()
children = [mp.get_context("fork").Process(target=work, args=(rank,)) for rank in (0, 1)]
[child.start() for child in children]; [child.join() for child in children]
sys.exit(any(child.exitcode for child in children))
"""
    done = inside(sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr


def test_threads_are_in_it_when_they_are_started_after_it() -> None:
    program = (
        "from xttsreg.training import network; import threading, os\n"
        "before = os.readlink('/proc/self/ns/net'); assert network.way() == 'hook'\n"
        "assert network.cut_off_if_possible() == 'namespace' == network.way()\n"
        "seen = []; look = lambda: seen.append(os.readlink('/proc/thread-self/ns/net'))\n"
        "t = threading.Thread(target=look)\n"
        "t.start(); t.join(); assert seen[0] == os.readlink('/proc/self/ns/net') != before"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
