"""Who we are at a registry: read from, and written to, where docker keeps it.

Source of the formats: docker's ``config.json`` (``auths``, ``credsStore``, ``credHelpers``), the
``auth.json`` of podman and skopeo, and the protocol of docker-credential-helpers: a program on the
path that takes ``get`` or ``store`` and speaks JSON over its pipes, so that no secret is ever an
argument.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xttsreg.errors import InvalidInputError, MissingDependency
from xttsreg.stores import durable

_HELPER_TIMEOUT_S = 60.0
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Credential:
    """A name and its secret.

    Attributes:
        username: Empty for an identity token.
        secret: Password, access token or identity token. Never shown.
        identity: Whether the secret is an identity token (OAuth2 refresh token).
    """

    username: str
    secret: str = field(repr=False)
    identity: bool = False


def find_credential(host: str, environ: Mapping[str, str] = os.environ) -> Credential | None:
    """What is known for a registry, or None.

    Looked for in ``REGISTRY_AUTH_FILE``, docker's configuration and podman's, in this order.

    Raises:
        InvalidInputError: a file is there and cannot be read as what it should be.
        MissingDependency: the credential helper that a file names is not installed.
    """
    for path in _files(environ):
        found = _from_file(path, host)
        if found:
            return found
    return None


def store_credential(
    host: str, credential: Credential, environ: Mapping[str, str] = os.environ
) -> str:
    """Keep a credential where docker would; returns where that is, for people.

    Raises:
        InvalidInputError: the file there is not what it should be.
        MissingDependency: its credential helper is not installed.
        ReadOnlyMedia, InsufficientSpace: the file cannot be written.
    """
    path = _docker_file(environ)
    config = _load(path)
    helper = _helper_of(config, host)
    if helper:
        secret = {"ServerURL": host, "Username": credential.username, "Secret": credential.secret}
        _call_helper(helper, "store", json.dumps(secret))
        return f"credential helper {helper}"
    pair = f"{credential.username}:{credential.secret}".encode()
    auths = {**config.get("auths", {}), host: {"auth": base64.b64encode(pair).decode()}}
    _save(path, {**config, "auths": auths})
    return str(path)


def forget_credential(host: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Remove what `store_credential` kept. False if there was nothing."""
    path = _docker_file(environ)
    config = _load(path)
    helper = _helper_of(config, host)
    if helper:
        if _from_helper(helper, host) is None:
            return False
        _call_helper(helper, "erase", host)
        return True
    auths = dict(config.get("auths", {}))
    if auths.pop(host, None) is None:
        return False
    _save(path, {**config, "auths": auths})
    return True


def _docker_file(environ: Mapping[str, str]) -> Path:
    given = environ.get("REGISTRY_AUTH_FILE")
    if given:
        return Path(given)
    home = environ.get("DOCKER_CONFIG")
    return (Path(home) if home else Path.home() / ".docker") / "config.json"


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    yield _docker_file(environ)
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime and not environ.get("REGISTRY_AUTH_FILE"):
        yield Path(runtime) / "containers" / "auth.json"


def _load(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8") or "{}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise InvalidInputError(
            f"{path}: cannot be read as a registry configuration",
            hint="mend it, or name another one with REGISTRY_AUTH_FILE",
        ) from None
    auths = value.get("auths", {}) if isinstance(value, dict) else None
    if not isinstance(auths, dict):
        raise InvalidInputError(f"{path}: is not an object with `auths`", hint="mend it")
    return dict(value)


def _save(path: Path, config: Mapping[str, Any]) -> None:
    """Write secrets so that no other user can read them, at any instant."""
    data = json.dumps(config, indent=2).encode() + b"\n"
    with durable.disk_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.write_atomic(path, data, temporary=path.with_name(f".{path.name}.tmp"), mode=0o600)


def _from_file(path: Path, host: str) -> Credential | None:
    config = _load(path)
    helper = _helper_of(config, host)
    found = _from_helper(helper, host) if helper else None
    return found or _from_auths(path, config, host)


def _from_auths(path: Path, config: Mapping[str, Any], host: str) -> Credential | None:
    for key in (host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/"):
        entry = config.get("auths", {}).get(key)
        if not isinstance(entry, dict) or not entry:
            continue
        if entry.get("identitytoken"):
            return Credential("", str(entry["identitytoken"]), identity=True)
        try:
            pair = base64.b64decode(entry["auth"], validate=True).decode()
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise InvalidInputError(
                f"{path}: the entry for {host} is damaged", hint=f"`xttsreg login {host}`"
            ) from None
        username, _, secret = pair.partition(":")
        return Credential(username, secret.rstrip("\0"))
    return None


def _helper_of(config: Mapping[str, Any], host: str) -> str | None:
    helpers = config.get("credHelpers")
    name = (helpers.get(host) if isinstance(helpers, dict) else None) or config.get("credsStore")
    return name if isinstance(name, str) and _HELPER_NAME.fullmatch(name) else None


def _from_helper(helper: str, host: str) -> Credential | None:
    done = _run_helper(helper, "get", host)
    if done.returncode:
        return None  # "credentials not found" has no code of its own
    try:
        value = json.loads(done.stdout)
        username, secret = str(value["Username"]), str(value["Secret"])
    except (ValueError, KeyError, TypeError):
        raise InvalidInputError(f"credential helper {helper}: answered nonsense") from None
    return Credential("" if username == "<token>" else username, secret, username == "<token>")


def _call_helper(helper: str, verb: str, text: str) -> None:
    if _run_helper(helper, verb, text).returncode:
        raise InvalidInputError(
            f"credential helper {helper}: could not {verb}",
            hint="try docker-credential-"
            + helper
            + " by hand, or remove it from the configuration",
        )


def _run_helper(helper: str, verb: str, text: str) -> subprocess.CompletedProcess[str]:
    program = f"docker-credential-{helper}"
    try:
        return subprocess.run(
            [program, verb], input=text, capture_output=True, text=True, timeout=_HELPER_TIMEOUT_S
        )
    except FileNotFoundError:
        raise MissingDependency(
            f"{program}: the registry configuration names it, and it is not installed",
            extra="",
            hint="install it, or take it out of docker's config.json",
        ) from None
    except subprocess.TimeoutExpired:
        raise InvalidInputError(f"{program}: no answer in {_HELPER_TIMEOUT_S:.0f} s") from None
