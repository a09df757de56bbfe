"""Whose signature counts on this machine, and what becomes of what nobody signed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xttsreg import places
from xttsreg.errors import InvalidInputError, MissingDependency, SignatureMissing
from xttsreg.ops import signing
from xttsreg.ops.signing import Signer

TRUST_VARIABLE = "XTTSREG_TRUST"
REVOKED_VARIABLE = "XTTSREG_REVOKED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where something comes from, as far as this machine can tell.

    Attributes:
        signed: There is a signature.
        signer: Whose it is; None: unsigned, or nobody could look.
    """

    signed: bool = False
    signer: Signer | None = None

    def __str__(self) -> str:
        """For people, on one line."""
        if self.signer and self.signer.principal:
            return f"signed by {self.signer}"
        if self.signer:
            return f"signed with the key {self.signer}; no trust file says whose that is"
        return "signed, but not checked: ssh-keygen is not there" if self.signed else "not signed"

    def to_json(self) -> dict[str, str | bool | None]:
        """For programs. ``trusted``: a trust file knows the key."""
        return {
            "signed": self.signed,
            "trusted": bool(self.signer and self.signer.principal),
            "principal": self.signer.principal if self.signer else None,
            "fingerprint": self.signer.fingerprint if self.signer else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Origin:
        """``Origin.from_json(o.to_json()) == o``."""
        fingerprint, principal = value.get("fingerprint"), value.get("principal")
        signer = Signer(str(fingerprint), principal and str(principal)) if fingerprint else None
        return cls(signed=bool(value.get("signed")), signer=signer)


UNSIGNED = Origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The policy of this machine.

    Attributes:
        allowed_signers: Names and keys; None: nobody has said whom to trust, and anything goes.
        revoked: Keys that count no more.
        allow_unsigned: Take what has no signature although ``allowed_signers`` is set. A signature
            that is there must be right all the same.
    """

    allowed_signers: Path | None = None
    revoked: Path | None = None
    allow_unsigned: bool = False

    def authenticate(
        self, data: bytes, signature: bytes | None, namespace: str, *, what: str
    ) -> Origin:
        """Who signed these bytes. To be asked before anything in them is believed or parsed.

        Args:
            data: The bytes.
            signature: Armoured; None if there is none.
            namespace: What it must have been made for.
            what: Name of the bytes, for messages.

        Returns:
            The origin. Its signer has no principal where no trust file is configured.

        Raises:
            SignatureMissing: unsigned, and that is not allowed.
            SignatureInvalid: other bytes, another namespace, an unknown or revoked key.
            MissingDependency: there is a trust file, but no ssh-keygen.
        """
        if signature is None:
            self._allow_unsigned(what)
            return UNSIGNED
        if self.allowed_signers is None:
            try:
                signer = signing.check(data, signature, namespace, what=f"{what}.sig")
            except MissingDependency:
                return Origin(signed=True)  # nobody asked for the signature to be checked
            return Origin(signed=True, signer=signer)
        signer = signing.verify(
            data,
            signature,
            namespace,
            allowed_signers=self.allowed_signers,
            revoked=self.revoked,
            what=f"{what}.sig",
        )
        return Origin(signed=True, signer=signer)

    def _allow_unsigned(self, what: str) -> None:
        if self.allowed_signers is not None and not self.allow_unsigned:
            raise SignatureMissing(
                f"{what}: not signed, and {self.allowed_signers} says whose signature is wanted",
                hint="ask for a signed one; --allow-unsigned takes it all the same",
            )


def find_trust(
    allowed_signers: Path | None = None,
    revoked: Path | None = None,
    *,
    allow_unsigned: bool = False,
) -> Trust:
    """The policy from what was given, else the environment, else the files in the home.

    Args:
        allowed_signers: ``--trust``; else ``XTTSREG_TRUST``, else ``allowed_signers`` in the home.
        revoked: ``--revoked``; else ``XTTSREG_REVOKED``, else ``revoked_keys`` in the home.
        allow_unsigned: ``--allow-unsigned``.

    Raises:
        InvalidInputError: a file that was named is not there, or is empty: without this check a
            typing error would switch the policy off.
    """
    return Trust(
        allowed_signers=_find(allowed_signers, TRUST_VARIABLE, "allowed_signers"),
        revoked=_find(revoked, REVOKED_VARIABLE, "revoked_keys"),
        allow_unsigned=allow_unsigned,
    )


def _find(given: Path | None, variable: str, name: str) -> Path | None:
    named = os.environ.get(variable)
    if given is None and named:
        given = Path(named).expanduser()
    path = given or places.home() / name
    if given is None and not os.path.lexists(path):
        return None
    try:
        if path.read_bytes().strip():
            return path
        problem = "is empty"
    except OSError as error:
        problem = error.strerror or str(error)
    raise InvalidInputError(
        f"{path}: {problem}",
        hint="this file says whose signatures count: mend it, or name another one",
    )
