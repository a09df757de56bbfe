"""One source of a pinned file: a request, and its answer held against the pin.

Everything that an answer says of itself is checked before a byte is stored. See RFC 9110, 14
for ranges, and 13.1.5 for If-Range.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import requests

from xttsreg.errors import DigestMismatch, RemoteError, SizeMismatch, Transient, XttsregError
from xttsreg.remote.transport import Client, read_body, status_error
from xttsreg.remote.urls import redact
from xttsreg.stores.base import Sink

_OTHER_VERSION = "the source has another file than the pinned one under this name"
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.ASCII)
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A pinned file.

    Attributes:
        name: For messages, and to tell whether a web page may be what is wanted.
        size_bytes: Its exact length.
        sha256_hex: 64 lowercase hex digits.
        urls: Sources in order of preference.
    """

    name: str
    size_bytes: int
    sha256_hex: str
    urls: Sequence[str]


@dataclass(slots=True, kw_only=True)
class Source:
    """One URL, and what has been learnt about it in this process.

    Attributes:
        etag: Strong ETag of the content that the sink's bytes come from, if known (If-Range).
        ranges: False once the server has shown that it gets ranges wrong.
        delivered: Whether bytes of this source are in the sink.
    """

    file: RemoteFile
    url: str
    sink: Sink
    client: Client
    advance: Callable[[int], None]
    etag: str | None = None
    ranges: bool = True
    delivered: bool = False

    def attempt(self) -> None:
        """One request, and its body into the sink.

        Raises:
            Transient: if another attempt may go further; the sink keeps what came.
            IntegrityError: if the source has another file.
            RemoteError: if this source is of no use.
        """
        if not self.ranges and self.sink.offset_bytes:
            self.restart()
        headers = {}
        if self.sink.offset_bytes:
            headers["Range"] = f"bytes={self.sink.offset_bytes}-"
            if self.etag:
                headers["If-Range"] = self.etag
        with self.client.get(self.url, headers, self._check_pin) as answer:
            length_bytes = self._accept(answer)
            self.etag = _strong_etag(answer) or self.etag
            for data in read_body(answer, self.url, length_bytes):
                self._store(data)
        if self.sink.offset_bytes < self.file.size_bytes:
            raise self._transient(f"ended after {self.sink.offset_bytes} bytes")

    def restart(self) -> None:
        """Drop what is in the sink."""
        self.advance(-self.sink.offset_bytes)
        self.sink.restart()
        self.etag, self.delivered = None, False

    def _store(self, data: bytes) -> None:
        """Append to the sink, but never more than the pinned size."""
        total_bytes = self.sink.offset_bytes + len(data)
        if total_bytes > self.file.size_bytes:
            self.delivered = True
            raise self._wrong_size(total_bytes)
        self.sink.write(data)
        self.delivered = True
        self.advance(len(data))

    def _check_pin(self, answer: requests.Response, url: str) -> None:
        """Hold what the hub says of a file against the pin, before its storage is asked.

        ``X-Linked-ETag`` is the sha256 of a large file on the Hugging Face hub, in quotes or not;
        of a small file it is a git blob SHA-1, which says nothing to us. A plain ``ETag`` is not
        looked at: storage hosts put other hashes of the same length there.
        """
        linked = answer.headers.get("X-Linked-ETag", "").strip().removeprefix("W/").strip('"')
        if _SHA256_HEX.fullmatch(linked.lower()) and linked.lower() != self.file.sha256_hex:
            raise DigestMismatch(
                redact(url),
                expected=f"sha256:{self.file.sha256_hex}",
                actual=f"sha256:{linked.lower()}",
                hint=_OTHER_VERSION,
            )
        size = answer.headers.get("X-Linked-Size", "").strip()
        if re.fullmatch(r"[0-9]{1,18}", size) and int(size) != self.file.size_bytes:
            raise self._wrong_size(int(size))

    def _accept(self, answer: requests.Response) -> int | None:
        """Decide on the answer by its head; prepare the sink; the body's length, if told."""
        if answer.status_code == 416:
            raise self._unsatisfiable(answer)
        if answer.status_code not in (200, 206):
            raise status_error(answer, self.url)
        self._refuse_disguise(answer)
        length = answer.headers.get("Content-Length", "").strip()
        length_bytes = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
        if answer.status_code == 206:
            return self._accept_range(answer, length_bytes)
        if length_bytes is not None and length_bytes != self.file.size_bytes:
            raise self._wrong_size(length_bytes)
        if self.sink.offset_bytes:  # Range ignored, or the content is no longer what it was
            self.restart()
        return length_bytes

    def _refuse_disguise(self, answer: requests.Response) -> None:
        """Refuse a web page in place of a file, and a body that something has compressed."""
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        page = kind in ("text/html", "application/xhtml+xml")
        if page and not self.file.name.lower().endswith((".html", ".htm")):
            raise self._useless(
                answer,
                "answered with a web page instead of the file",
                hint="a login page, perhaps: open the address in a browser, or check the proxy",
            )
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise self._useless(answer, "sends the file compressed, which was not asked for")

    def _accept_range(self, answer: requests.Response, length_bytes: int | None) -> int:
        """Check that a 206 has the bytes that were asked for; how many they are."""
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        start, end, total = match.groups() if match else (None, None, None)
        if total not in (None, "*") and int(total) != self.file.size_bytes:
            raise self._wrong_size(int(total))
        etag = _strong_etag(answer)
        changed = self.etag and etag and etag != self.etag
        if start is None or end is None or int(start) != self.sink.offset_bytes or changed:
            self.ranges = False
            raise self._transient("sent another range than asked for")
        told_bytes = int(end) - int(start) + 1
        if int(end) >= self.file.size_bytes or length_bytes not in (None, told_bytes):
            self.ranges = False
            raise self._transient("sent a range that contradicts itself")
        return told_bytes

    def _unsatisfiable(self, answer: requests.Response) -> XttsregError:
        """What a 416 means: a shorter file there, or a server that cannot do ranges."""
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        total = match.group(3) if match else "*"
        if total != "*" and int(total) != self.file.size_bytes:
            return self._wrong_size(int(total))
        if not self.sink.offset_bytes:
            return self._useless(answer, "answered 416 to a plain request")
        self.ranges = False
        return self._transient("answered 416", status=416)

    def _wrong_size(self, actual_bytes: int) -> SizeMismatch:
        return SizeMismatch(
            redact(self.url),
            expected_bytes=self.file.size_bytes,
            actual_bytes=actual_bytes,
            hint=_OTHER_VERSION,
        )

    def _transient(self, what: str, *, status: int | None = None) -> Transient:
        shown = redact(self.url)
        return Transient(f"{shown}: {what}", op="GET", url=shown, status=status)

    def _useless(
        self, answer: requests.Response, what: str, *, hint: str | None = None
    ) -> RemoteError:
        shown, status = redact(self.url), answer.status_code
        return RemoteError(f"{shown}: {what}", op="GET", url=shown, status=status, hint=hint)


def _strong_etag(answer: requests.Response) -> str:
    """The ETag if it can be used with If-Range (RFC 9110, 13.1.5), else an empty text."""
    etag = answer.headers.get("ETag", "").strip()
    return etag if _STRONG_ETAG.fullmatch(etag) else ""
