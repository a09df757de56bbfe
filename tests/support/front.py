"""Something between us and a registry that changes what goes through: a proxy, or a liar."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_OWN = ("date", "server", "transfer-encoding", "connection")


@dataclass(slots=True)
class Asked:
    """A request; what is changed in it reaches the registry changed."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(slots=True)
class Told:
    """An answer. One whose body is no bytes goes on until the client hangs up."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""


Ask = Callable[[], Told]
Change = Callable[[Asked, Ask], Told]


class Front:
    """A server on loopback before a registry. A context manager.

    Args:
        backend: ``host:port`` of the registry.
        change: Gets each request, and what passes it on; its answer is sent.
    """

    def __init__(self, backend: str, change: Change = lambda _, ask: ask()) -> None:
        self.backend, self.change = backend, change
        self.asked: list[Asked] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = Asked(self.command, self.path, dict(self.headers.items()), body)
                with front._lock:
                    front.asked.append(asked)
                self._answer(front.change(asked, lambda: front._pass_on(asked)))

            def _answer(self, told: Told) -> None:
                self.send_response(told.status)
                for name, value in told.headers.items():
                    self.send_header(name, value)
                whole = isinstance(told.body, bytes)
                if whole and not any(name.lower() == "content-length" for name in told.headers):
                    self.send_header("Content-Length", str(len(told.body)))  # type: ignore[arg-type]
                if not whole:
                    self.send_header("Connection", "close")
                self.end_headers()
                if self.command != "HEAD":
                    pieces = [told.body] if whole else told.body
                    try:
                        for piece in pieces:
                            self.wfile.write(piece)  # type: ignore[arg-type]
                    except OSError:
                        self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        for method in ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler._serve)
        return Handler

    def _pass_on(self, asked: Asked) -> Told:
        there = http.client.HTTPConnection(self.backend, timeout=60)
        kept = {k: v for k, v in asked.headers.items() if k.lower() != "authorization"}
        try:
            there.request(asked.method, asked.path, asked.body, kept)
            answer = there.getresponse()
            body = answer.read()
        finally:
            there.close()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in _OWN}
        if asked.method != "HEAD":
            headers = {k: v for k, v in headers.items() if k.lower() != "content-length"}
        return Told(answer.status, headers, body)

    def requests(self, method: str, part: str = "") -> list[Asked]:
        """What was asked for by a method, with ``part`` in its path."""
        return [asked for asked in self.asked if asked.method == method and part in asked.path]

    def __enter__(self) -> Front:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
