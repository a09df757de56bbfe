"""Who may read, and what is written down of it."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from datetime import datetime, timezone

from aiohttp import web

Log = Callable[[str], None]


class Token:
    """The one secret of a server.

    Taken as a bearer token, as clients of the hub send it, and as the password of HTTP Basic, as
    browsers and clients of registries do; the name beside it does not matter.

    Args:
        secret: None lets everybody read.
    """

    def __init__(self, secret: str | None) -> None:
        self._secret = secret.encode("utf-8") if secret else None

    def admits(self, request: web.BaseRequest) -> bool:
        """Whether this request may be answered."""
        if self._secret is None:
            return True
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        given = value.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given, self._secret)


def log_line(request: web.BaseRequest, status: int, sent_bytes: int, took_s: float) -> str:
    """One line in the common log format, and the seconds it took.

    Queries are left out, and what a client says of itself is cut and made harmless.
    """
    when = datetime.now(timezone.utc).strftime("%d/%b/%Y:%H:%M:%S +0000")
    path = _harmless(request.raw_path.partition("?")[0], 500)
    agent = _harmless(request.headers.get("User-Agent", "-"), 100)
    peer = request.remote or "-"
    return (
        f'{peer} - - [{when}] "{request.method} {path} HTTP/{request.version.major}.'
        f'{request.version.minor}" {status} {sent_bytes} "{agent}" {took_s:.3f}'
    )


def _harmless(text: str, length: int) -> str:
    clean = "".join(c if c.isascii() and c.isprintable() and c != '"' else "?" for c in text)
    return clean[:length]
