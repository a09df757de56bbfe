"""``xttsreg serve`` as a process of its own, and requests to it."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

from support import start_cli

_HURRY = (
    "from xttsreg.serve import app, running;"
    "running.IDLE_S, running.STALL_S, app.WARM_AGAIN_S = 2.0, 2.0, 0.1"
)


class Answer:
    """An answer as it is on the wire."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """A running server. A context manager.

    Args:
        home: Its XTTSREG_HOME.
        options: More of the command line.
        is_hurried: Its clocks go fast: what takes half a minute or two takes seconds.
        env: More variables.
    """

    def __init__(self, home: Path, *options: object, is_hurried: bool = False, **env: str) -> None:
        changed = _HURRY if is_hurried else ""
        args = ["serve", "--port", "0", *options]
        self.process = start_cli(args, home, changed=changed, **env)
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            self.process.wait(10)
            self._reader.join(10)
            raise AssertionError("\n".join(self.log))
        self.port = int(self.url.rpartition(":")[2])

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders()
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def head(self, path: str, **headers: str) -> Answer:
        return self.get(path, "HEAD", **headers)

    def raw(self, data: bytes) -> bytes:
        """What comes back for these bytes until the server hangs up, or the head of an answer."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(data)
            return connection.recv(65536)

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
