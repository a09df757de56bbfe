"""Requests to one repository of a registry: scheme, challenge, refusals, repetition.

Source: OCI distribution-spec v1.1, "API" and "Error Codes".
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urljoin

import requests
from requests.auth import AuthBase

from xttsreg.content.canonical import load_strict
from xttsreg.errors import RemoteError, Unauthorized
from xttsreg.remote.address import Address
from xttsreg.remote.auth import Authorizer
from xttsreg.remote.credentials import Credential, find_credential
from xttsreg.remote.retry import ATTEMPTS, Sleep, with_retries
from xttsreg.remote.transport import Client, new_session, status_error
from xttsreg.remote.urls import redact

T = TypeVar("T")
MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024
"""What a registry takes as a manifest at most (distribution-spec, "Pushing Manifests")."""
_CODE = re.compile(r"[A-Z_]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a registry is spoken to.

    Attributes:
        plain_http: Without TLS; None tries TLS first where the host is this machine.
        ca: PEM file of the authority to trust; None for those that ``requests`` knows.
        attempts: Tries in a row without progress.
        timeout_s: Seconds to connect, and seconds between two pieces of an answer.
        find: Looks up the credential of a host.
        sleep: Waits that many seconds between tries.
    """

    plain_http: bool | None = None
    ca: Path | None = None
    attempts: int = ATTEMPTS
    timeout_s: tuple[float, float] = (10.0, 60.0)
    find: Callable[[str], Credential | None] = find_credential
    sleep: Sleep = time.sleep


class Connection:
    """Speaks to one repository.

    Args:
        address: Where; its tag and digest do not matter here.
        options: How.
        writable: Whether to ask for the right to write.
        scope: Which right to ask for instead; empty for none beyond being known.
    """

    def __init__(
        self, address: Address, options: Options, *, writable: bool, scope: str | None = None
    ) -> None:
        self.address = address
        self.options = options
        actions = "pull,push" if writable else "pull"
        self._scope = f"repository:{address.reference.name}:{actions}" if scope is None else scope
        self._local = threading.local()
        self.base = self._find_scheme() + "://" + address.host
        self._authorizer = Authorizer(address.host, self.base, lambda: options.find(address.host))

    @property
    def auth(self) -> AuthBase:
        """What is sent now."""
        return self._authorizer.auth(self._scope)

    @property
    def session(self) -> requests.Session:
        """This thread's connections."""
        if not hasattr(self._local, "session"):
            self._local.session = new_session()
            if self.options.ca:
                self._local.session.verify = str(self.options.ca)
        return cast(requests.Session, self._local.session)

    @property
    def unauthorized_hint(self) -> str:
        """What to do if we may not do something."""
        return f"`xttsreg login {self.address.host}`, or ask its owner for the right"

    def _find_scheme(self) -> str:
        """With TLS, but on request, or where this machine's own registry has none."""
        plain = self.options.plain_http
        if plain is not None or not self.address.is_loopback or self.options.ca:
            return "http" if plain else "https"
        url = f"https://{self.address.host}/v2/"
        client = Client(session=self.session, timeout_s=self.options.timeout_s)
        try:
            with client.send("GET", url, {}):
                return "https"
        except RemoteError as error:
            # A certificate that is refused has its reason behind the colon; a server that does
            # not speak TLS at all has none.
            return "https" if error.message.partition("TLS error:")[2] else "http"

    def url(self, path: str) -> str:
        """Of something in this repository."""
        return f"{self.base}/v2/{self.address.reference.name}/{path}"

    def call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        *,
        ok: tuple[int, ...],
        also: str = "",
    ) -> requests.Response:
        """One request, its challenge answered; the caller closes the answer. Not repeated.

        Args:
            method: Of HTTP.
            url: Where, relative to the registry or absolute.
            headers: Nothing secret.
            data: The body.
            ok: Statuses that are answers.
            also: A further scope that the request needs, e.g. for a mount.

        Raises:
            Transient, Unauthorized, RemoteError: any other status, with the registry's own code.
        """
        scope = f"{self._scope} {also}".strip()
        url = urljoin(self.base, url)
        for last in (False, True):
            auth = self._authorizer.auth(scope)
            client = Client(
                session=self.session,
                auth=auth,
                auth_urls=[self.base],
                timeout_s=self.options.timeout_s,
            )
            if method in ("GET", "HEAD"):
                answer = client.get(url, headers or {}, method=method)
            else:
                answer = client.send(method, url, headers or {}, data)
            if answer.status_code != 401 or last:
                break
            with answer:
                self._authorizer.answer(answer, scope, self.session, auth)
        if answer.status_code in ok:
            return answer
        with answer:
            raise self._refusal(answer, url, method)

    def _refusal(self, answer: requests.Response, url: str, method: str) -> RemoteError:
        error = status_error(answer, url, method)
        code = _error_code(answer)
        if code:
            error.message += f" ({code})"
        if isinstance(error, Unauthorized):
            error.hint = self.unauthorized_hint
        if answer.status_code >= 500:
            error.hint = "the registry itself failed: its log says why; a full disk, perhaps"
        if answer.status_code == 413:
            error.hint = "a proxy before the registry limits the size of requests; raise its limit"
        return error

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        *,
        ok: tuple[int, ...],
        sleep: Sleep | None = None,
    ) -> requests.Response:
        """`call` as often as is sensible; for requests that may be repeated. See `retry`."""
        return self.retry(lambda: self.call(method, url, headers, data, ok=ok), sleep=sleep)

    def retry(self, work: Callable[[], T], *, sleep: Sleep | None = None) -> T:
        """Do something that may be repeated; ``sleep`` waits between, instead of the options'."""
        return with_retries(work, attempts=self.options.attempts, sleep=sleep or self.options.sleep)


def _error_code(answer: requests.Response) -> str:
    """The registry's own code, e.g. ``DIGEST_INVALID``; empty if it gave none."""
    try:
        value = load_strict(answer.raw.read(65536, decode_content=True), what="error")
        first = value["errors"][0]["code"]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return first if isinstance(first, str) and _CODE.fullmatch(first) else ""


def read_object(answer: requests.Response, url: str) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        RemoteError: it has none; a proxy's page, perhaps.
    """
    try:
        return load_strict(answer.raw.read(MANIFEST_LIMIT_BYTES, decode_content=True), what=url)
    except (OSError, ValueError):
        raise RemoteError(
            f"{redact(url)}: the answer is not a registry's", hint="check the address, and proxies"
        ) from None
