"""SSH signatures, made and checked by ``ssh-keygen``. No cryptography of ours.

Every call is a list of arguments, never a shell; data goes through stdin, so what is checked is the
bytes that the caller holds and not a file that may change. See ssh-keygen(1), "-Y".
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from xttsreg.errors import InvalidInputError, MissingDependency, SignatureInvalid, SigningFailed

BUNDLE_NAMESPACE = "xttsreg-bundle-v1"
INVENTORY_NAMESPACE = "xttsreg-inventory-v1"

# A token waits for a finger, and an agent may ask a person. A batch job must end all the same.
_SIGN_TIMEOUT_S = 120.0
_CHECK_TIMEOUT_S = 60.0
SIGNATURE_LIMIT_BYTES = 64 * 1024
_GOOD = re.compile(
    r'Good "(?P<namespace>[^"]*)" signature (?:for (?P<principal>.+) )?'
    r"with (?P<kind>\S+) key (?P<fingerprint>SHA256:[A-Za-z0-9+/]{43})"
)
_FINGERPRINT = re.compile(r"\d+ (SHA256:[A-Za-z0-9+/]{43}) ")
_REFUSE = "do not use this: it was changed after it was signed, or damaged"
_INSTALL = "install OpenSSH 8.2 or newer (Debian, Ubuntu: apt install openssh-client)"


@dataclass(frozen=True, slots=True)
class Signer:
    """Whose signature it is.

    Attributes:
        fingerprint: Of the key, ``SHA256:...``, as ``ssh-keygen -l`` prints it.
        principal: The name that the trust file gives the key; None: no trust file was asked.
        certified: The signature carries a certificate, which says who the key belongs to.
    """

    fingerprint: str
    principal: str | None = None
    certified: bool = False

    def __str__(self) -> str:
        """For people: name and key."""
        return f"{self.principal} ({self.fingerprint})" if self.principal else self.fingerprint


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What to sign with.

    Attributes:
        path: A private key, the handle of a key on a token, or a public key whose private half an
            agent holds.
        interactive: A person sits at the terminal: ssh-keygen may ask for passphrase, PIN or
            touch there. Otherwise it must not wait for anyone.
    """

    path: Path
    interactive: bool = False

    def sign(self, data: bytes, namespace: str) -> bytes:
        """The armoured signature of these bytes.

        Raises:
            InvalidInputError: there is no key at this path.
            SigningFailed: the key could not be used.
            MissingDependency: no ssh-keygen, or one that is too old.
        """
        self._require()
        done = _run(
            ["-q", "-Y", "sign", "-f", str(self.path), "-n", namespace],
            data,
            timeout_s=None if self.interactive else _SIGN_TIMEOUT_S,
            interactive=self.interactive,
        )
        if done.returncode or not done.stdout:
            raise SigningFailed(
                f"{self.path}: ssh-keygen could not sign ({_reason(done)})",
                hint="is the passphrase right, the agent running (ssh-add -l), the token plugged "
                "in? Without a terminal, use an agent",
            )
        check(data, done.stdout, namespace, what="the signature just made")
        return done.stdout

    def sign_again(self, data: bytes, before: bytes | None, namespace: str) -> bytes:
        """``before`` if that is a signature of these bytes by this key, else a new one.

        Not every kind of key gives the same bytes twice, and people need not be asked twice.
        One with a certificate is made anew: the certificate may be another one by now.

        Raises:
            InvalidInputError, SigningFailed, MissingDependency: as `sign`.
        """
        if before is not None:
            with contextlib.suppress(SignatureInvalid):
                signer = check(data, before, namespace, what="the signature that is there")
                certified = signer.certified or self.path.name.endswith("-cert.pub")
                if signer.fingerprint == self.fingerprint() and not certified:
                    return before
        return self.sign(data, namespace)

    def fingerprint(self) -> str:
        """Of the key; needs no passphrase.

        Raises:
            InvalidInputError: there is no key at this path.
        """
        self._require()
        done = _run(["-l", "-E", "sha256", "-f", str(self.path)])
        match = _FINGERPRINT.match(_text(done.stdout))
        if done.returncode or not match:
            raise InvalidInputError(
                f"{self.path}: not an SSH key ({_reason(done)})",
                hint="give a private key, or a public key whose private half is in ssh-agent",
            )
        return match[1]

    def _require(self) -> None:
        if not self.path.is_file():
            raise InvalidInputError(
                f"{self.path}: no such key file",
                hint="`ssh-keygen -t ed25519 -f FILE` makes a key; see docs/signing.md",
            )


def check(data: bytes, signature: bytes, namespace: str, *, what: str) -> Signer:
    """Whether a signature is over these bytes, whoever made it; trust is another question.

    Args:
        data: What was signed.
        signature: Armoured.
        namespace: What it must have been made for.
        what: The signature's name, for messages.

    Raises:
        SignatureInvalid: over other bytes, for another namespace, or no signature at all.
        MissingDependency: no ssh-keygen, or one that is too old.
    """
    with _as_file(signature, what) as path:
        done = _run(["-Y", "check-novalidate", "-n", namespace, "-s", path], data)
    found = _good(done, namespace)
    if found is None:
        raise _invalid(done, namespace, what)
    return Signer(found["fingerprint"], certified=found["kind"].endswith("-CERT"))


def verify(
    data: bytes,
    signature: bytes,
    namespace: str,
    *,
    allowed_signers: Path,
    revoked: Path | None = None,
    what: str,
) -> Signer:
    """Who signed these bytes, according to an allowed_signers file.

    Args:
        data: What was signed.
        signature: Armoured.
        namespace: What it must have been made for.
        allowed_signers: Names and their keys; see ssh-keygen(1), "ALLOWED SIGNERS".
        revoked: Keys that count no more: a KRL, or one public key a line.
        what: The signature's name, for messages.

    Raises:
        SignatureInvalid: as `check`, or the key is unknown, revoked, or not (or no longer) allowed.
        MissingDependency: no ssh-keygen, or one that is too old.
    """
    signer = check(data, signature, namespace, what=what)
    trust = ["-f", str(allowed_signers)]
    with _as_file(signature, what) as path:
        listed = _run(["-Y", "find-principals", "-s", path, *trust])
        names = _text(listed.stdout).splitlines() if listed.returncode == 0 else []
        complaint = listed
        for name in names:
            call = ["-Y", "verify", *trust, "-I", name, "-n", namespace, "-s", path]
            krl = ["-r", str(revoked)] if revoked else []
            done = _run([*call, *krl], data)
            found = _good(done, namespace)
            if found and found["fingerprint"] == signer.fingerprint:
                return replace(signer, principal=found["principal"])
            if krl and _good(_run(call, data), namespace):
                raise SignatureInvalid(
                    f"{what}: by {replace(signer, principal=name)}, which {revoked} revokes "
                    "(or that file is damaged)",
                    hint="do not use this; ask for a bundle that is signed with a new key",
                )
            complaint = done
    raise _not_allowed(signer, complaint, allowed_signers, what)


def _not_allowed(
    signer: Signer, done: subprocess.CompletedProcess[bytes], allowed: Path, what: str
) -> SignatureInvalid:
    """Why a good signature is not accepted, from ssh-keygen's own words where it has any."""
    pattern = r":\d+: (key (?:has expired|is not yet valid|is not permitted)[^\n]*)"
    match = re.search(pattern, _text(done.stderr))
    if match:
        return SignatureInvalid(
            f"{what}: by {signer}, not allowed by {allowed}: {match[1].strip()}",
            hint="do not use this unless you know why; the line in that file may need a change "
            "(and check this machine's clock)",
        )
    return SignatureInvalid(
        f"{what}: by a key that {allowed} does not know: {signer}",
        hint="do not use this; if the key is that of somebody you trust, add a line for it to "
        "that file (docs/signing.md)",
    )


def _invalid(
    done: subprocess.CompletedProcess[bytes], namespace: str, what: str
) -> SignatureInvalid:
    said = _text(done.stderr)
    if "namespace" in said:
        text = f"was made for another purpose, not for {namespace}"
    elif "incorrect signature" in said:
        text = "is over other bytes than these"
    else:
        text = f"is no signature that ssh-keygen knows ({_reason(done)})"
    return SignatureInvalid(f"{what}: {text}", hint=_REFUSE)


def _good(done: subprocess.CompletedProcess[bytes], namespace: str) -> re.Match[str] | None:
    """The line that says that all is well; both it and the exit status must say so."""
    match = _GOOD.fullmatch(_text(done.stdout).strip())
    return match if done.returncode == 0 and match and match["namespace"] == namespace else None


@contextlib.contextmanager
def _as_file(data: bytes, what: str) -> Iterator[str]:
    """Bytes as a file for the time of a call; ssh-keygen takes signatures as files only."""
    if len(data) > SIGNATURE_LIMIT_BYTES:
        raise SignatureInvalid(f"{what}: {len(data)} bytes are no signature", hint=_REFUSE)
    with tempfile.TemporaryDirectory(prefix="xttsreg-") as directory:
        path = Path(directory) / "signature"
        path.write_bytes(data)
        yield str(path)


def _run(
    arguments: list[str],
    data: bytes = b"",
    *,
    timeout_s: float | None = _CHECK_TIMEOUT_S,
    interactive: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """Run ssh-keygen with these bytes on stdin.

    Not interactive: in a session of its own it has no terminal to ask on, and no window is opened
    unless the user forces that.
    """
    program = shutil.which("ssh-keygen")
    if program is None:
        raise MissingDependency("ssh-keygen is not there", extra="", hint=_INSTALL)
    environment = {**os.environ, "LC_ALL": "C"}
    if not interactive and environment.get("SSH_ASKPASS_REQUIRE") != "force":
        environment["SSH_ASKPASS_REQUIRE"] = "never"
    try:
        done = subprocess.run(
            [program, *arguments],
            input=data,
            stdout=subprocess.PIPE,
            stderr=None if interactive else subprocess.PIPE,
            env=environment,
            start_new_session=not interactive,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SigningFailed(
            f"ssh-keygen did not answer for {timeout_s:.0f} s",
            hint="does a token wait for a touch, or an agent for a yes? Run this on a terminal",
        ) from None
    except OSError as error:
        raise MissingDependency(f"{program}: {error.strerror}", extra="", hint=_INSTALL) from error
    if done.returncode and re.search(r"(?m)^usage:|(unknown|illegal) option", _text(done.stderr)):
        raise MissingDependency(f"{program} is too old: it cannot -Y", extra="", hint=_INSTALL)
    return done


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """What ssh-keygen said last, on one line."""
    lines = [line.strip() for line in _text(done.stderr).splitlines() if line.strip()]
    said = "".join(c if c.isprintable() else "?" for c in lines[-1]) if lines else ""
    return said or f"exit status {done.returncode}"


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace")
