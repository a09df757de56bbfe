"""The wire side of `xttsreg.demo.hub`: the server, and the handler that answers."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from xttsreg.demo.faults import Fault, Request, Stage

if TYPE_CHECKING:
    from xttsreg.demo.hub import Hub

_CHUNK_BYTES = 256 * 1024
_TYPES = {".json": "application/json", ".txt": "text/plain; charset=utf-8"}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class Server(ThreadingHTTPServer):
    """One listening port of a hub."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], hub: Hub) -> None:
        super().__init__(address, _Handler)
        self.hub = hub
        self.connections: set[socket.socket] = set()

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"

    def hang_up(self) -> None:
        """Close what clients keep open."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        self.hub = self.server.hub
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet; `Hub.requests` has it all."""

    def do_HEAD(self) -> None:  # noqa: N802 - http.server's name
        """Answer without a body."""
        self._answer()

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        """Answer."""
        self._answer()

    def _answer(self) -> None:
        """Route, and let go wrong what is to go wrong."""
        path = unquote(urlsplit(self.path).path)
        stage, revision, name = self._route(path)
        fault = self.hub.record(self._describe(stage, name)) or Fault()
        authorization = self.headers.get("Authorization")
        if fault.status is not None:
            self._short(fault.status, fault)
        elif stage == "other":
            self._short(404, fault, "RepoNotFound")
        elif stage == "resolve" and self.hub.token not in (None, (authorization or "")[7:]):
            self._short(401, fault, "GatedRepo")
        elif revision not in (self.hub.revision, "main"):
            self._short(404, fault, "RevisionNotFound")
        elif (file := self.hub.find(name)) is None:
            self._short(404, fault, "EntryNotFound")
        elif stage == "resolve" and self.hub.is_large(file):
            self._redirect(file, fault)
        else:
            self._send_file(file, stage, fault)

    def _route(self, path: str) -> tuple[Stage, str, str]:
        """Stage, revision and file name that a path asks for."""
        if path.startswith("/lfs/"):
            name = self.hub.find_digest(path.removeprefix("/lfs/"))
            return "lfs", self.hub.revision, name or ""
        prefix = f"/{self.hub.repo}/resolve/"
        if path.startswith(prefix):
            revision, _, name = path.removeprefix(prefix).partition("/")
            return "resolve", revision, name
        return "other", "", ""

    def _describe(self, stage: Stage, name: str) -> Request:
        """The record of this request, without its credentials."""
        kept = {key.lower(): value for key, value in self.headers.items()}
        authorized = kept.pop("authorization", None) is not None
        kept.pop("cookie", None)
        return Request(
            method=self.command,
            path=self.path,
            file=name,
            stage=stage,
            port=int(self.connection.getsockname()[1]),
            authorized=authorized,
            headers=kept,
        )

    def _short(self, status: int, fault: Fault, error_code: str = "") -> None:
        """An answer without a file."""
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if error_code:
            headers["X-Error-Code"] = error_code
        if error_code == "EntryNotFound":
            headers["X-Repo-Commit"] = self.hub.revision
        if fault.retry_after is not None:
            headers["Retry-After"] = fault.retry_after
        self._send(status, headers, [fault.body or f"{status} {error_code}\n".encode()], fault)

    def _redirect(self, file: Path, fault: Fault) -> None:
        """The first answer for a large file: where it is, and what it is."""
        sha256, _ = self.hub.hashes(file)
        headers = {
            "Location": f"{self.hub.lfs_url}/lfs/{sha256}?X-Signature=not-to-be-shown",
            "X-Repo-Commit": self.hub.revision,
            "X-Linked-Size": str(file.stat().st_size),
            "X-Linked-ETag": f'"{sha256}"',
            "ETag": f'"{sha256}"',
            "Content-Type": "text/plain; charset=utf-8",
        }
        self._send(302, headers, [b"Found\n"], fault)

    def _send_file(self, file: Path, stage: Stage, fault: Fault) -> None:
        """The file, or the part of it that is asked for."""
        size = file.stat().st_size if fault.body is None else len(fault.body)
        etag = '"{}"'.format(self.hub.hashes(file)[0 if stage == "lfs" else 1])
        headers = {
            "Content-Type": _TYPES.get(file.suffix, "application/octet-stream"),
            "Accept-Ranges": "bytes",
            "ETag": etag,
        }
        if stage == "resolve":
            headers["X-Repo-Commit"] = self.hub.revision
        etag = fault.headers.get("ETag", etag)
        asked = None if fault.ignore_range else self._range(size, etag)
        if asked is not None and asked[0] >= asked[1]:
            headers["Content-Range"] = fault.content_range or f"bytes */{size}"
            self._send(416, headers, [b""], fault)
            return
        start, end = asked or (0, size)
        if asked:
            headers["Content-Range"] = fault.content_range or f"bytes {start}-{end - 1}/{size}"
        if fault.body is None:
            body: Iterable[bytes] = pieces(file, start, end)
        else:
            body = [fault.body[start:end]]
        self._send(206 if asked else 200, headers, body, fault, length=end - start)

    def _range(self, size: int, etag: str) -> tuple[int, int] | None:
        """First byte, and one past the last, of a Range header that counts; else None."""
        match = _RANGE.fullmatch(self.headers.get("Range", "").strip())
        if not match or match.group(0) == "bytes=-":
            return None
        if self.headers.get("If-Range", etag) != etag:
            return None
        first, last = match.groups()
        if not first:
            return max(0, size - int(last)), size
        end = min(size, int(last) + 1) if last else size
        return (int(first), end) if not last or int(last) >= int(first) else None

    def _send(
        self,
        status: int,
        headers: dict[str, str],
        body: Iterable[bytes],
        fault: Fault,
        length: int | None = None,
    ) -> None:
        """Head and body, with what is to go wrong."""
        if length is None:
            body = list(body)
            length = sum(len(data) for data in body)
        if fault.content_type:
            headers["Content-Type"] = fault.content_type
        framing = ("Transfer-Encoding", "chunked") if fault.chunked else ("Content-Length", length)
        headers = {**headers, framing[0]: str(framing[1]), **fault.headers}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self._send_body(body, fault)

    def _send_body(self, body: Iterable[bytes], fault: Fault) -> None:
        """The body, up to where the connection is to break."""
        left = fault.drop_after_bytes
        for data in body:
            if fault.pause_s:
                self.hub.closing.wait(fault.pause_s)
            part = data if left is None else data[:left]
            if part:
                framed = b"%x\r\n%b\r\n" % (len(part), part) if fault.chunked else part
                self.wfile.write(framed)
            if left is not None:
                left -= len(part)
                if left <= 0:
                    break
        if fault.drop_after_bytes is not None:
            self._hang_up(fault)
        elif fault.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _hang_up(self, fault: Fault) -> None:
        """Break the connection off, politely (FIN) or not (RST)."""
        self.wfile.flush()
        self.hub.closing.wait(fault.stall_s)
        self.close_connection = True
        if fault.reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            # A shutdown would say FIN first; closing the only descriptor sends the reset.
            self.rfile.close()
            self.connection.close()


def pieces(file: Path, start: int, end: int) -> Iterator[bytes]:
    """Bytes ``start`` up to ``end`` of a file, in pieces of 256 KiB at most."""
    with file.open("rb") as stream:
        stream.seek(start)
        while start < end and (data := stream.read(min(_CHUNK_BYTES, end - start))):
            start += len(data)
            yield data
