"""A registry's challenge, and the answer to it.

Source: OCI distribution-spec leaves authentication to the registry; all of them speak
distribution's token protocol ("Token Authentication Specification", with its OAuth2 form for
identity tokens) or HTTP Basic (RFC 7617). Both begin with a 401 and ``WWW-Authenticate``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from xttsreg.content.canonical import load_strict
from xttsreg.errors import InvalidInputError, RemoteError, Unauthorized
from xttsreg.remote.credentials import Credential
from xttsreg.remote.transport import Bearer, Client, Nothing, status_error
from xttsreg.remote.urls import origin_of, redact

_LIMIT_BYTES = 1024 * 1024
_HEADER_CHARS = 4096  # real ones have some hundred; the search below is quadratic
_PARAMETER = re.compile(r'([A-Za-z_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a ``WWW-Authenticate`` header.

    Attributes:
        scheme: Lower case, e.g. ``bearer``.
        parameters: Lower-case names to values, unquoted.
    """

    scheme: str
    parameters: dict[str, str]


def parse_challenge(header: str) -> Challenge | None:
    """The first challenge that we can answer, Bearer before Basic (RFC 9110, 11.6.1).

    >>> parse_challenge('Bearer realm="https://a/t",service="r"').parameters["service"]
    'r'
    """
    found = {c.scheme: c for c in reversed(list(_challenges(header[:_HEADER_CHARS])))}
    return found.get("bearer") or found.get("basic")


def _challenges(header: str) -> Iterator[Challenge]:
    for match in re.finditer(r"\b(Bearer|Basic)\b\s*", header, re.IGNORECASE):
        if header[: match.start()].count('"') % 2:
            continue  # inside of a quoted value
        after = re.split(r",\s*(?=(?:Bearer|Basic)\b)", header[match.end() :], maxsplit=1)[0]
        pairs = {
            m[1].lower(): re.sub(r"\\(.)", r"\1", m[2]) if m[2] is not None else m[3]
            for m in _PARAMETER.finditer(after)
        }
        yield Challenge(match[1].lower(), pairs)


class Authorizer:
    """Answers one registry's challenges, and remembers the answers. Safe from several threads.

    Args:
        host: The registry, for messages.
        origin: Its URL; credentials are not sent over plain HTTP unless it is plain itself.
        find: Looks the credential up, when it is first needed.
    """

    def __init__(self, host: str, origin: str, find: Callable[[], Credential | None]) -> None:
        self._host, self._origin, self._find = host, origin, find
        self._lock = threading.Lock()
        self._auth: dict[str, AuthBase] = {}
        self._credential: Credential | None = None
        self._looked = False

    def auth(self, scope: str) -> AuthBase:
        """What to send now; nothing at all until the registry has asked."""
        return self._auth.get(scope) or Nothing()

    def answer(
        self, refused: requests.Response, scope: str, session: requests.Session, sent: AuthBase
    ) -> None:
        """Find the answer to a 401; `auth` gives it from now on.

        Args:
            refused: The answer with the challenge.
            scope: What the request needs, e.g. ``repository:team/voice:pull,push``.
            session: For the token server.
            sent: What was sent and refused; another thread may have renewed it meanwhile.

        Raises:
            Unauthorized: there is no credential, or it is not taken.
            RemoteError: the token server cannot be used.
        """
        with self._lock:
            if self.auth(scope) is not sent and scope in self._auth:
                return
            challenge = parse_challenge(refused.headers.get("WWW-Authenticate", ""))
            credential = self._known()
            if challenge is None or (challenge.scheme == "basic" and credential is None):
                raise self._unauthorized("wants credentials" if credential is None else "refused")
            if challenge.scheme == "basic":
                assert credential is not None
                if isinstance(sent, HTTPBasicAuth):
                    raise self._unauthorized("does not take this name and password")
                self._auth[scope] = HTTPBasicAuth(credential.username, credential.secret)
            else:
                token = self._token(challenge, scope, credential, session)
                self._auth[scope] = _bearer(token)

    def _known(self) -> Credential | None:
        if not self._looked:
            self._credential, self._looked = self._find(), True
        return self._credential

    def _unauthorized(self, what: str) -> Unauthorized:
        return Unauthorized(
            f"{self._host}: {what}",
            url=self._origin,
            status=401,
            hint=f"`xttsreg login {self._host}`",
        )

    def _token(
        self,
        challenge: Challenge,
        scope: str,
        credential: Credential | None,
        session: requests.Session,
    ) -> str:
        realm = challenge.parameters.get("realm", "")
        origin = origin_of(realm)
        if origin[0] == "http" and origin_of(self._origin)[0] == "https":
            raise RemoteError(
                f"{self._host}: names a token server without TLS ({redact(realm)})",
                hint="credentials do not go there; mend the registry's configuration",
            )
        fields = {"service": challenge.parameters.get("service", ""), "scope": scope}
        auth = None
        if credential and not credential.identity:
            auth = HTTPBasicAuth(credential.username, credential.secret)
        client = Client(session=session, auth=auth or Nothing(), auth_urls=[realm])
        if credential and credential.identity:
            grant = {**fields, "grant_type": "refresh_token", "client_id": "xttsreg",
                     "refresh_token": credential.secret}  # fmt: skip
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = client.send("POST", realm, headers, urlencode(grant).encode())
        else:
            mark = "&" if urlsplit(realm).query else "?"
            url = realm + mark + urlencode({k: v for k, v in fields.items() if v})
            answer = client.get(url, {})
        with answer:
            return self._read_token(answer, realm, credential)

    def _read_token(
        self, answer: requests.Response, realm: str, credential: Credential | None
    ) -> str:
        if answer.status_code in (400, 401, 403):
            known = "does not take this name and password" if credential else "wants credentials"
            raise self._unauthorized(known)
        if answer.status_code != 200:
            raise status_error(answer, realm)
        try:
            value = load_strict(answer.raw.read(_LIMIT_BYTES, decode_content=True), what="token")
            token = value.get("token") or value.get("access_token")
        except (OSError, ValueError):
            token = None
        if not isinstance(token, str) or not token:
            raise RemoteError(f"{redact(realm)}: the token server answered without a token")
        return token


def _bearer(token: str) -> Bearer:
    try:
        return Bearer(token)
    except InvalidInputError:
        raise RemoteError("the token server answered with something that is no token") from None
