"""Sending one blob to a registry, in pieces, from where the registry is.

Source: OCI distribution-spec v1.1, "Pushing a blob in chunks".

A piece that fails in passing is asked about and sent again from there. If the registry has lost
the upload (it was restarted without its disk, say), the blob is sent from the beginning; and once
if it knows the upload, but only ever fails with it.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.stream import Advance, Readable, VerifyingReader
from xttsreg.errors import DigestMismatch, RemoteError, Transient
from xttsreg.remote.connection import Connection
from xttsreg.remote.retry import pause_s, watched

CHUNK_BYTES = 16 * 1024 * 1024
"""What one request carries, and what is held in memory a blob under way."""

_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})", re.ASCII)


class _Lost(RemoteError):
    """The registry knows nothing of the upload any more."""


def upload(connection: Connection, blob: Descriptor, source: Readable, advance: Advance) -> None:
    """Send a blob.

    Args:
        connection: Where to.
        blob: What the source must have.
        source: From its beginning; a file can be gone back in, if the registry forgets.
        advance: Watches; negative when the registry forgot.

    Raises:
        SizeMismatch, DigestMismatch: the source has other bytes; the registry stored nothing.
        Transient: it failed too often without progress.
        RemoteError: the registry refuses.
    """
    failed = 0
    while True:
        run = _Upload(connection, blob, advance)
        try:
            run.send(VerifyingReader(source, blob))
            return
        except (Transient, _Lost) as error:
            failed += 1
            # Whatever fails in passing has been tried that often already.
            most = connection.options.attempts if isinstance(error, _Lost) else 2
            seek: Any = getattr(source, "seek", None)
            if failed >= most or seek is None:
                raise
            run.sleep(pause_s(error, failed))
            if run.is_there():
                return
            advance(-run.sent_bytes)
            seek(0)


def cancel(connection: Connection, begun: requests.Response) -> None:
    """Tell a registry that an upload will not go on; it forgets it by itself otherwise."""
    location = begun.headers.get("Location")
    if location:
        with contextlib.suppress(RemoteError):
            connection.call("DELETE", location, ok=(202, 204, 404, 405)).close()


class _Upload:
    """One upload session of a registry."""

    def __init__(self, connection: Connection, blob: Descriptor, advance: Advance) -> None:
        self._connection, self._blob, self._advance = connection, blob, advance
        self.sleep = watched(connection.options.sleep, advance)
        self._location = ""
        self._chunk_bytes = CHUNK_BYTES
        self.sent_bytes = 0

    def send(self, source: Readable) -> None:
        self._connection.retry(self._begin, sleep=self.sleep)
        while chunk := _read_full(source, self._chunk_bytes):
            self._send_chunk(chunk)
        self._connection.retry(self._finish, sleep=self.sleep)

    def _begin(self) -> None:
        url = self._connection.url("blobs/uploads/")
        with self._connection.call("POST", url, ok=(202,)) as answer:
            self._follow(answer, url)
            least = answer.headers.get("OCI-Chunk-Min-Length", "")
            if least.isdigit():
                self._chunk_bytes = max(self._chunk_bytes, int(least))

    def _send_chunk(self, chunk: bytes) -> None:
        """Send one piece, whatever it takes; nothing is read from the source meanwhile."""
        start, end = self.sent_bytes, self.sent_bytes + len(chunk)
        failed = 0
        while self.sent_bytes < end:
            before = self.sent_bytes
            try:
                self._patch(chunk[self.sent_bytes - start :])
            except Transient as error:
                failed = 0 if self.sent_bytes > before else failed + 1
                if failed >= self._connection.options.attempts:
                    raise
                self.sleep(pause_s(error, max(1, failed)))
                self._ask(start, end)

    def _patch(self, data: bytes) -> None:
        last = self.sent_bytes + len(data) - 1
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{self.sent_bytes}-{last}",
        }
        ok = (202, 204, 404, 416)
        with self._connection.call("PATCH", self._location, headers, data, ok=ok) as answer:
            if answer.status_code == 404:
                raise _Lost("the registry has lost the upload", op="PATCH")
            if answer.status_code == 416:
                raise Transient("the registry is at another place", op="PATCH", status=416)
            self._follow(answer, self._location)
            self._advance(len(data))
            self.sent_bytes += len(data)

    def _ask(self, start: int, end: int) -> None:
        """Ask how far the registry is; a piece may have arrived though its answer did not."""
        ok = (200, 204, 404)
        with self._connection.ask("GET", self._location, ok=ok, sleep=self.sleep) as answer:
            match = _RANGE.fullmatch(answer.headers.get("Range", "").strip())
            there = int(match[1]) + 1 if match and match[1] != "0" else 0
            if answer.status_code == 404 or not start <= there <= end:
                raise _Lost("the registry has lost the upload", op="GET")
            self._follow(answer, self._location)
        self._advance(there - self.sent_bytes)
        self.sent_bytes = there

    def _finish(self) -> None:
        mark = "&" if urlsplit(self._location).query else "?"
        url = f"{self._location}{mark}digest={self._blob.digest}"
        headers = {"Content-Length": "0", "Content-Type": "application/octet-stream"}
        try:
            with self._connection.call("PUT", url, headers, b"", ok=(201, 204, 404)) as answer:
                if answer.status_code == 404 and not self.is_there():
                    raise _Lost("the registry has lost the upload", op="PUT")
        except RemoteError as error:
            if "DIGEST_INVALID" in error.message:
                raise DigestMismatch(
                    f"blob {self._blob.digest.short} at {self._connection.address.host}",
                    expected=self._blob.digest,
                    actual="something else, says the registry",
                    hint="the bytes changed on the way, or the registry's disk is at fault",
                ) from None
            raise

    def is_there(self) -> bool:
        """Whether the registry has the blob after all: its answer may be what was lost."""
        url = self._connection.url(f"blobs/{self._blob.digest}")
        with self._connection.call("HEAD", url, ok=(200, 404)) as answer:
            return answer.status_code == 200

    def _follow(self, answer: requests.Response, url: str) -> None:
        """The address of the next request. Behind a proxy, registries often lose the TLS of it."""
        location = urljoin(urljoin(self._connection.base, url), answer.headers.get("Location", ""))
        parts, base = urlsplit(location), urlsplit(self._connection.base)
        if parts.hostname == base.hostname and parts.scheme != base.scheme:
            parts = parts._replace(scheme=base.scheme, netloc=base.netloc)
        self._location = urlunsplit(parts)


def _read_full(source: Readable, size_bytes: int) -> bytes:
    """Exactly that many bytes, but at the end."""
    parts: list[bytes] = []
    missing = size_bytes
    while missing and (data := source.read(min(missing, 1024 * 1024))):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)
