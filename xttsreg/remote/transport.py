"""HTTP as we need it: redirects by hand, credentials that stay with their host, clear errors.

Imported lazily only, since ``requests`` is slow to load. Nothing here knows files or stores.

Why not ``allow_redirects=True``: a hub answers with a redirect to a storage host, and what may
be sent there differs. On the first host a token or the user's ``.netrc`` may be used; on any
other origin (scheme, host and port) no credentials at all are sent, wherever they come from.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urljoin, urlsplit

import requests
import urllib3.exceptions
from requests.auth import AuthBase, HTTPBasicAuth

from xttsreg import __version__
from xttsreg.errors import InvalidInputError, RemoteError, Transient, Unauthorized
from xttsreg.remote.urls import HUB_URL, origin_of, redact

MAX_REDIRECTS = 5
_CHUNK_BYTES = 1024 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT = frozenset({408, 425, 429})
_CA_HINT = "behind a proxy with its own CA, set REQUESTS_CA_BUNDLE to that CA's PEM file"
_TOKEN_HINT = "set HF_TOKEN to a token that may read it, and accept the terms on its page"

_TLS = (requests.exceptions.SSLError, urllib3.exceptions.SSLError, ssl.SSLError)
_TLS_CUT = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError, TimeoutError)
_PASSING = (
    requests.ConnectionError,
    requests.Timeout,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)

Check = Callable[[requests.Response, str], None]


def unchecked(_answer: requests.Response, _url: str) -> None:
    """Take any answer on the way."""


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds to wait by a ``Retry-After`` header (RFC 9110, 10.2.3); ``None`` if it has none.

    Both forms are read: whole seconds and an HTTP date. A date in the past gives 0.
    """
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
        if when.tzinfo is None:
            when = when.replace(tzinfo=timezone.utc)
        return max(0.0, (when - (now or datetime.now(timezone.utc))).total_seconds())
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


class Bearer(AuthBase):
    """A token.

    Raises:
        InvalidInputError: it cannot be one; http.client would quote it in its error.
    """

    def __init__(self, token: str) -> None:
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise InvalidInputError(
                "the access token has spaces or characters that no token has",
                hint="set HF_TOKEN to the token alone, without quotes or line ends",
            )
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Nothing(AuthBase):
    """No credentials. A callable is what keeps requests from asking ``.netrc`` or the URL."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Take the header away."""
        request.headers.pop("Authorization", None)
        return request


class _Session(requests.Session):
    """A session that never looks at ``Location`` itself: reading ahead would load the body."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Say that there is none."""
        return None


def new_session() -> requests.Session:
    """A session as this module wants it; proxies and CAs come from the environment."""
    return _Session()


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Sends requests.

    Attributes:
        session: Where connections are kept. Not to be shared between threads.
        auth: Credentials, or none.
        auth_urls: URLs of the hosts that they belong to; only scheme, host and port count.
        timeout_s: Seconds to connect, and seconds between two pieces of an answer.
    """

    session: requests.Session
    auth: AuthBase | None = None
    auth_urls: Sequence[str] = (HUB_URL,)
    timeout_s: tuple[float, float] = (10.0, 60.0)

    def send(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None = None
    ) -> requests.Response:
        """One request, redirects not followed; the caller closes the answer.

        Raises:
            Transient: if the network failed.
            RemoteError: for a certificate, or a URL that is none.
        """
        return self._send(method, url, headers, self._credentials(url), data)

    def get(
        self, url: str, headers: Mapping[str, str], check: Check = unchecked, method: str = "GET"
    ) -> requests.Response:
        """The answer at the end of the redirects, whatever its status; the caller closes it.

        Args:
            url: Where to begin.
            headers: Sent to every host on the way, so nothing secret.
            check: Called with every answer, redirects included, and its URL; may raise.
            method: ``GET`` or ``HEAD``.

        Raises:
            Transient: if the network failed.
            RemoteError: for a redirect that is not followed, or a certificate.
        """
        home = origin_of(url)
        auth: AuthBase | None = self._credentials(url)
        here = url
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._send(method, here, headers, auth)
            try:
                check(answer, here)
                target = _redirect_target(answer, here)
            except BaseException:
                answer.close()
                raise
            if target is None:
                return answer
            answer.close()
            here = target
            if origin_of(here) != home:
                # For good: a host that we were sent to does not send the token back, either.
                auth, home = Nothing(), ("", "", 0)
        raise RemoteError(
            f"{redact(url)}: more than {MAX_REDIRECTS} redirects", op=method, url=redact(url)
        )

    def _credentials(self, url: str) -> AuthBase | None:
        """Ours at their own hosts, else what the URL says, else None: requests and netrc."""
        if self.auth and origin_of(url) in [origin_of(own) for own in self.auth_urls]:
            return self.auth
        parts = urlsplit(url)
        if parts.username is not None:
            return HTTPBasicAuth(unquote(parts.username), unquote(parts.password or ""))
        return None

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        auth: AuthBase | None,
        data: bytes | None = None,
    ) -> requests.Response:
        """One request. The exceptions of requests quote queries, so they are replaced."""
        fixed = {"User-Agent": f"xttsreg/{__version__}", "Accept-Encoding": "identity"}
        try:
            return self.session.request(
                method,
                url,
                data=data,
                headers={**headers, **fixed},
                auth=auth,
                stream=True,
                allow_redirects=False,
                timeout=self.timeout_s,
                # Said here, since requests prefers REQUESTS_CA_BUNDLE to what a session has.
                verify=None if self.session.verify is True else self.session.verify,
            )
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            raise _transport_error(error, url, method) from None


def _redirect_target(answer: requests.Response, url: str) -> str | None:
    """Where this answer sends us, or None if it is not a redirect."""
    if answer.status_code not in _REDIRECTS:
        return None
    shown = redact(url)
    location = answer.headers.get("Location", "").strip()
    if not location:
        raise RemoteError(
            f"{shown}: redirect to nowhere", op="GET", url=shown, status=answer.status_code
        )
    try:
        target = urljoin(url, location)
    except ValueError:
        target = "invalid:"
    scheme, _, _ = origin_of(target)
    if scheme == "http" and urlsplit(url).scheme == "https":
        raise RemoteError(
            f"{shown}: refused to follow a redirect from https to http ({redact(target)})",
            op="GET",
            url=shown,
            status=answer.status_code,
        )
    return target


def read_body(answer: requests.Response, url: str, length_bytes: int | None) -> Iterator[bytes]:
    """The body's bytes as they come off the wire, undecoded, in pieces of 1 MiB at most.

    Pieces are handed out as soon as they are there: what a buffer holds when a connection drops
    would be lost, and then be fetched twice.

    Args:
        answer: From `Client.get`.
        url: For messages.
        length_bytes: Where to stop; ``None`` reads to the end of the stream.

    Raises:
        Transient: if the stream breaks off or ends before ``length_bytes``.
    """
    raw = answer.raw
    read = getattr(raw, "read1", raw.read)  # urllib3 1.x has read() only
    left = length_bytes
    while left is None or left > 0:
        want = _CHUNK_BYTES if left is None else min(_CHUNK_BYTES, left)
        try:
            data = read(want, decode_content=False)
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            raise _transport_error(error, url) from None
        if not data:
            if left:
                raise Transient(f"{redact(url)}: connection closed {left} bytes early", op="GET")
            return
        if left is not None:
            left -= len(data)
        yield data


def status_error(answer: requests.Response, url: str, op: str = "GET") -> RemoteError:
    """What an answer that has no file means."""
    status, shown = answer.status_code, redact(url)
    code = re.sub(r"[^A-Za-z0-9_-]", "", answer.headers.get("X-Error-Code", ""))[:40]
    message = f"{shown}: answered {status}" + (f" ({code})" if code else "")
    if status in (401, 403):
        return Unauthorized(message, op=op, url=shown, status=status, hint=_TOKEN_HINT)
    if status in _TRANSIENT or status >= 500:
        wait = parse_retry_after(answer.headers.get("Retry-After"))
        return Transient(message, op=op, url=shown, status=status, retry_after_s=wait)
    hint = "the proxy wants a user and password: see HTTPS_PROXY" if status == 407 else None
    return RemoteError(message, op=op, url=shown, status=status, hint=hint)


def _transport_error(error: Exception, url: str, op: str = "GET") -> RemoteError:
    """Our error for one of requests, urllib3 or the socket, without their text."""
    shown = redact(url)
    causes = list(_causes(error))
    tls = any(isinstance(c, _TLS) for c in causes)
    if tls and not any(isinstance(c, _TLS_CUT) for c in causes):
        why = next((c.verify_message for c in causes if hasattr(c, "verify_message")), "")
        text = f"{shown}: certificate or TLS error" + (f": {why}" if why else "")
        return RemoteError(text, op=op, url=shown, hint=_CA_HINT)
    # InvalidURL and its like are ValueErrors; a second try would find the same.
    if not isinstance(error, ValueError) and any(isinstance(c, _PASSING) for c in causes):
        return Transient(f"{shown}: {_reason(causes)}", op=op, url=shown)
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        text = f"{shown}: the CA bundle or client certificate cannot be read"
        return RemoteError(text, op=op, url=shown, hint=_CA_HINT)
    text = f"{shown}: the request cannot be sent ({type(error).__name__})"
    return RemoteError(text, op=op, url=shown)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that it wraps, as urllib3 and requests wrap: args, reason, cause."""
    todo, seen = [error], set[int]()
    while todo:
        item = todo.pop(0)
        if id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        inner = (*item.args, getattr(item, "reason", None), item.__cause__, item.__context__)
        todo += [c for c in inner if isinstance(c, BaseException)]


def _reason(causes: Sequence[BaseException]) -> str:
    """A few words on why the network failed."""
    kinds = urllib3.exceptions
    if any(isinstance(c, (requests.exceptions.ProxyError, kinds.ProxyError)) for c in causes):
        return "the proxy cannot be reached, or refused"
    if any(isinstance(c, socket.gaierror) for c in causes):
        return "host name not found"
    named = [c.strerror for c in causes if isinstance(c, OSError) and c.strerror]
    if named:
        return named[0].lower()
    late = (TimeoutError, kinds.TimeoutError, requests.Timeout)
    return "no answer in time" if any(isinstance(c, late) for c in causes) else "broke off"
