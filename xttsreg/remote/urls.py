"""Source URLs: whom they belong to, how they are shown, and where the hub's mirror is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from xttsreg.errors import InvalidInputError, RemoteError

HUB_URL = "https://huggingface.co"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[^:@\[\]]*(:[0-9]*)?|\[[0-9A-Fa-f:.]+\](:[0-9]*)?")


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL: what a credential belongs to.

    Raises:
        RemoteError: if it is no http or https URL with a host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RemoteError(f"not a usable URL: {redact(url)}", op="GET") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise RemoteError(f"not an http or https URL: {redact(url)}", op="GET")
    return parts.scheme, parts.hostname.lower(), port or _DEFAULT_PORTS[parts.scheme]


def redact(url: str) -> str:
    """A URL as messages may show it: no user, password, query or fragment, one line.

    >>> redact("https://me:secret@host/a/b?X-Amz-Signature=1#f")
    'https://host/a/b'
    """
    rest = re.split(r"[?#]", url, maxsplit=1)[0]
    scheme, mark, tail = rest.partition("://")
    authority, slash, path = tail.partition("/")
    host = authority.rpartition("@")[2]
    if not _HOST.fullmatch(host):  # a password with a "#" would look like a port
        host = "(not a host)"
    shown = f"{scheme}{mark}{host}{slash}{path}" if mark else "(not a URL)"
    return "".join(c if c.isprintable() else "?" for c in shown)[:300]


def apply_endpoint(url: str, environ: Mapping[str, str]) -> str:
    """The URL on the mirror that ``HF_ENDPOINT`` names, if it is one of the public hub.

    Use it for the token's home too: ``apply_endpoint(HUB_URL, environ)``.

    Raises:
        InvalidInputError: if ``HF_ENDPOINT`` is not an http or https URL.

    >>> apply_endpoint("https://huggingface.co/a/b", {"HF_ENDPOINT": "http://node:8000/"})
    'http://node:8000/a/b'
    """
    endpoint = environ.get("HF_ENDPOINT", "").strip().rstrip("/")
    if not endpoint or origin_of(url) != origin_of(HUB_URL):
        return url
    try:
        origin_of(endpoint)
    except RemoteError:
        raise InvalidInputError(
            f"HF_ENDPOINT is not a URL: {redact(endpoint)}",
            hint="set it to something like http://node:8000, or unset it",
        ) from None
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return endpoint + parts.path + query
