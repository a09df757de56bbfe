"""A slow and faulty line: a relay before a server on this machine.

``tc netem`` needs root and a kernel that has it; this needs neither, and is the same for everyone
who comes through it. It adds a delay in both directions, holds what is under way in memory, as a
long line does, and cuts all connections once when so many bytes have come through.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue

_PIECE_BYTES = 256 * 1024
_UNDER_WAY = 256  # pieces: 64 MiB
_RESET = struct.pack("ii", 1, 0)


class Line:
    """A relay to a port of this machine.

    Args:
        port: Of the server.
        delay_s: In each direction.
    """

    def __init__(self, port: int, *, delay_s: float) -> None:
        self._server = port
        self._delay_s = delay_s
        self._left: int | None = None
        self._guard = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def repair(self, cut_bytes: int) -> None:
        """Break once, after so many more bytes from the server."""
        with self._guard:
            self._left = cut_bytes

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._server))
                for one in (near, far):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._open.add(one)
                for source, target in ((near, far), (far, near)):
                    threading.Thread(
                        target=self._carry, args=(source, target, source is far), daemon=True
                    ).start()

    def _carry(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        """Take bytes in at once, and give them out when their time has come."""
        under_way: Queue[tuple[float, bytes]] = Queue(_UNDER_WAY)
        sender = threading.Thread(target=self._deliver, args=(under_way, target), daemon=True)
        sender.start()
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE_BYTES):
                under_way.put((time.perf_counter() + self._delay_s, data))
                if counted:
                    self._count(len(data))
        under_way.put((time.perf_counter() + self._delay_s, b""))
        sender.join()
        self._open -= {source}
        source.close()

    def _deliver(self, under_way: Queue[tuple[float, bytes]], target: socket.socket) -> None:
        broken = False
        while True:
            due, data = under_way.get()
            if not data:
                break
            if (wait_s := due - time.perf_counter()) > 0:
                time.sleep(wait_s)
            try:
                if not broken:
                    target.sendall(data)
            except OSError:
                broken = True  # the other side goes on until it sees that as well
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _count(self, size_bytes: int) -> None:
        with self._guard:
            if self._left is None:
                return
            self._left -= size_bytes
            if self._left > 0:
                return
            self._left = None
            doomed = list(self._open)
        for one in doomed:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def line(port: int, *, delay_s: float = 0.0) -> Iterator[tuple[int, Callable[[int], None]]]:
    """A `Line` in a process of its own; its port, and what makes it break after so many bytes."""
    command = [sys.executable, "-m", "benchmarks.line", str(port), str(delay_s)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as process:
        assert process.stdin
        assert process.stdout

        def cut_after(size_bytes: int) -> None:
            print(size_bytes, file=process.stdin, flush=True)

        try:
            yield int(process.stdout.readline()), cut_after
        finally:
            process.kill()


if __name__ == "__main__":
    relay = Line(int(sys.argv[1]), delay_s=float(sys.argv[2]))
    print(relay.port, flush=True)
    for number in sys.stdin:
        relay.repair(int(number))
