"""Answers on the wire: short ones, and blobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from xttsreg.content.descriptor import Descriptor
from xttsreg.serve.paths import byte_range
from xttsreg.serve.proofs import Proofs

COMMON = {
    "Server": "xttsreg",
    "X-Content-Type-Options": "nosniff",
    # What is in the store was made by others: shown in a browser it must not act.
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
_SMALL_BYTES = 64 * 1024
"""Up to this size, head and body go out in one piece."""
_TYPES = {
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".csv": "text/plain; charset=utf-8",
    ".html": "text/plain; charset=utf-8",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".png": "image/png",
}


def content_type(path: str) -> str:
    """What to call a file of this name. A page of somebody else's stays text."""
    return _TYPES.get("." + path.rpartition(".")[2].lower(), "application/octet-stream")


def short(
    status: int,
    body: str | bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    kind: str = "text/plain; charset=utf-8",
) -> web.Response:
    """A whole answer of a few bytes."""
    data = body.encode("utf-8") if isinstance(body, str) else body
    return web.Response(
        status=status, body=data, headers={**COMMON, "Content-Type": kind, **(headers or {})}
    )


def as_json(
    value: Any, headers: Mapping[str, str] | None = None, *, status: int = 200
) -> web.Response:
    """A JSON value."""
    return short(status, json.dumps(value), headers, kind="application/json")


def origin(request: web.BaseRequest) -> str:
    """Scheme, host and port as the client has them, a proxy before us included."""
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme)
    return f"{'https' if scheme == 'https' else 'http'}://{request.host}"


async def send_blob(
    request: web.BaseRequest,
    proofs: Proofs,
    blob: Descriptor,
    *,
    etag: str,
    kind: str,
    headers: Mapping[str, str],
) -> web.StreamResponse:
    """A blob, or the part of it that is asked for, by the kernel's sendfile. Verified before.

    Args:
        request: GET or HEAD, with its conditions and its range.
        proofs: Opens it.
        blob: What to send.
        etag: Without quotes; always strong, since content is what a digest says.
        kind: Content type.
        headers: More of them.

    Raises:
        BlobNotFound, IntegrityError: it cannot be sent.
    """
    head = {**COMMON, "ETag": f'"{etag}"', "Accept-Ranges": "bytes", **headers}
    if not _matches(request.headers.get("If-Match"), etag, default=True):
        return short(412, headers=head)
    if _matches(request.headers.get("If-None-Match"), etag, default=False):
        return web.Response(status=304, headers=head)
    head["Content-Type"] = kind
    if request.method == "HEAD":
        await proofs.expect(blob)  # so that it is proven, or nearly so, when the GET comes
        return web.Response(headers={**head, "Content-Length": str(blob.size_bytes)})
    asked = None
    if request.headers.get("If-Range", f'"{etag}"').strip() == f'"{etag}"':
        asked = byte_range(request.headers.get("Range"), blob.size_bytes)
    start, end = asked or (0, blob.size_bytes)
    if asked and start >= end:
        return short(416, headers={**head, "Content-Range": f"bytes */{blob.size_bytes}"})
    if asked:
        head["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size_bytes}"
    status = 206 if asked else 200
    with await proofs.open(blob) as file:
        if end - start <= _SMALL_BYTES:
            file.seek(start)
            request["sent_bytes"] = end - start
            return web.Response(status=status, headers=head, body=file.read(end - start))
        answer = web.StreamResponse(status=status, headers=head)
        answer.content_length = end - start
        await answer.prepare(request)
        await _send_file(request, file, start, end - start)
        await answer.write_eof()
    return answer


async def _send_file(request: web.BaseRequest, file: Any, start: int, count: int) -> None:
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has gone")
    # With TLS, asyncio reads and writes by itself; without, the kernel copies.
    sent = await asyncio.get_running_loop().sendfile(transport, file, start, count)
    request["sent_bytes"] = sent
    if sent != count:  # the file was cut while it was sent; the length has been promised
        transport.abort()
        raise ConnectionResetError("the file ended early")


def _matches(header: str | None, etag: str, *, default: bool) -> bool:
    """Whether an If-Match or If-None-Match names this ETag; ``default`` without a header."""
    if header is None:
        return default
    named = {part.strip().removeprefix("W/") for part in header.split(",")}
    return bool(named & {"*", f'"{etag}"'})
