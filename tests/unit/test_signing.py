"""Signatures with real keys and the real ssh-keygen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.ssh import allow, make_key, public, revoke, sign, ssh_keygen

from xttsreg.errors import (
    InvalidInputError,
    MissingDependency,
    SignatureInvalid,
    SigningFailed,
    XttsregError,
)
from xttsreg.ops.signing import BUNDLE_NAMESPACE, Signer, SigningKey, check, verify

pytestmark = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen here")

DATA = b"what is signed\n"
NS = BUNDLE_NAMESPACE


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with alice, mallory, and a certificate authority."""
    directory = tmp_path_factory.mktemp("keys")
    for name in ("alice", "mallory", "authority"):
        make_key(directory, name)
    return directory


@pytest.fixture(scope="module")
def signature(keys: Path) -> bytes:
    return sign(DATA, keys / "alice", NS)


def fingerprint(key: Path) -> str:
    return ssh_keygen("-l", "-f", key).decode().split()[1]


def verified(signature: bytes, allowed: Path, revoked: Path | None = None) -> Signer:
    return verify(DATA, signature, NS, allowed_signers=allowed, revoked=revoked, what="S.sig")


def refused(signature: bytes, allowed: Path, revoked: Path | None = None) -> SignatureInvalid:
    with pytest.raises(SignatureInvalid) as caught:
        verified(signature, allowed, revoked)
    assert (caught.value.exit_code, bool(caught.value.hint)) == (4, True)
    assert "\n" not in caught.value.message + str(caught.value.hint)
    return caught.value


# --- good ones ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_who_signed(tmp_path: Path, kind: str) -> None:
    key = make_key(tmp_path, "key", kind=kind)
    allowed = allow(tmp_path / "allowed", alice=key)
    signature = sign(DATA, key, NS)
    assert verified(signature, allowed) == Signer(fingerprint(key), "alice@lab")
    assert check(DATA, signature, NS, what="x") == Signer(fingerprint(key))
    assert SigningKey(key).fingerprint() == fingerprint(key)


def test_plain_ssh_keygen_accepts_what_we_sign(
    keys: Path, signature: bytes, tmp_path: Path
) -> None:
    (tmp_path / "sig").write_bytes(signature)
    allowed = allow(tmp_path / "allowed", alice=keys / "alice")
    said = ssh_keygen(
        "-Y", "verify", "-f", allowed, "-I", "alice@lab", "-n", NS, "-s", tmp_path / "sig",
        data=DATA,
    )  # fmt: skip
    assert b"Good" in said


def test_one_key_of_several_names(keys: Path, signature: bytes, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text(
        f"# who may\n\nmallory {public(keys / 'mallory')}\nbob,alice {public(keys / 'alice')}\n"
    )
    assert verified(signature, allowed).principal == "bob"


def test_a_certificate_authority(keys: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path, "dave")
    ssh_keygen("-q", "-s", keys / "authority", "-I", "dave", "-n", "dave@lab", f"{key}.pub")
    signature = sign(DATA, tmp_path / "dave-cert.pub", NS)
    allowed = tmp_path / "allowed"
    allowed.write_text(f"*@lab cert-authority {public(keys / 'authority')}\n")
    assert verified(signature, allowed) == Signer(fingerprint(key), "dave@lab", certified=True)
    refused(sign(DATA, key, NS), allowed)  # the bare key has nobody's word
    revoked = revoke(tmp_path / "krl", key)
    assert "revokes" in refused(signature, allowed, revoked).message
    allowed.write_text(f"*@elsewhere cert-authority {public(keys / 'authority')}\n")
    refused(signature, allowed)


def test_a_renewed_certificate_is_used(keys: Path, tmp_path: Path) -> None:
    """The key is the same, so its fingerprint is no reason to keep the old signature."""
    key = make_key(tmp_path, "dave")
    bare = sign(DATA, key, NS)
    signatures = [bare]
    for number in "12":
        ssh_keygen("-q", "-s", keys / "authority", "-I", number, "-n", "dave@lab", f"{key}.pub")
        certificate = SigningKey(tmp_path / "dave-cert.pub")
        signatures.append(certificate.sign_again(DATA, signatures[-1], NS))
    assert len(set(signatures)) == 3
    assert SigningKey(key).sign_again(DATA, signatures[-1], NS) == bare


def test_a_certificate_that_has_expired(keys: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path, "dave")
    times = "20200101000000:20200201000000"
    ssh_keygen("-q", "-s", keys / "authority", "-I", "d", "-n", "d@lab", "-V", times, f"{key}.pub")
    allowed = tmp_path / "allowed"
    allowed.write_text(f"*@lab cert-authority {public(keys / 'authority')}\n")
    refused(sign(DATA, tmp_path / "dave-cert.pub", NS), allowed)


def test_a_signature_that_is_right_is_kept(keys: Path, tmp_path: Path) -> None:
    key = SigningKey(make_key(tmp_path, "key", kind="ecdsa"))  # signs differently each time
    first = key.sign(DATA, NS)
    assert key.sign(DATA, NS) != first
    assert key.sign_again(DATA, first, NS) == first
    others = [sign(DATA, keys / "alice", NS), key.sign(DATA, "git"), b"x", None]
    for data, before in ((b"other", first), *((DATA, other) for other in others)):
        again = key.sign_again(data, before, NS)
        assert again != before
        assert check(data, again, NS, what="x").fingerprint == key.fingerprint()


# --- bad ones -----------------------------------------------------------------------------------


def test_other_bytes(signature: bytes) -> None:
    with pytest.raises(SignatureInvalid, match=r"x\.sig: is over other bytes"):
        check(DATA + b" ", signature, NS, what="x.sig")


def test_another_purpose(keys: Path, tmp_path: Path) -> None:
    allowed = allow(tmp_path / "allowed", alice=keys / "alice")
    for other in ("git", "file", NS + "x", "xttsreg-inventory-v1"):
        problem = refused(sign(DATA, keys / "alice", other), allowed)
        assert "another purpose" in problem.message


def test_an_unknown_key(keys: Path, tmp_path: Path) -> None:
    allowed = allow(tmp_path / "allowed", alice=keys / "alice")
    problem = refused(sign(DATA, keys / "mallory", NS), allowed)
    assert "does not know" in problem.message
    assert fingerprint(keys / "mallory") in problem.message


def test_a_revoked_key(keys: Path, signature: bytes, tmp_path: Path) -> None:
    allowed = allow(tmp_path / "allowed", alice=keys / "alice")
    assert verified(signature, allowed, revoke(tmp_path / "other", keys / "mallory"))
    assert (
        "revokes" in refused(signature, allowed, revoke(tmp_path / "krl", keys / "alice")).message
    )
    plain = tmp_path / "plain"
    plain.write_text(public(keys / "alice") + "\n")
    assert "revokes" in refused(signature, allowed, plain).message


def test_a_damaged_revocation_list_lets_nothing_through(
    keys: Path, signature: bytes, tmp_path: Path
) -> None:
    allowed = allow(tmp_path / "allowed", alice=keys / "alice")
    krl = revoke(tmp_path / "krl", keys / "mallory")
    for damaged in (krl.read_bytes()[:-9], b"no list\n"):
        krl.write_bytes(damaged)
        assert "damaged" in refused(signature, allowed, krl).message


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ('valid-before="20200101"', "expired"),
        ('valid-after="20990101"', "not yet valid"),
        ('namespaces="git,file"', "not permitted"),
    ],
)
def test_a_line_that_does_not_hold(
    keys: Path, signature: bytes, tmp_path: Path, option: str, words: str
) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text(f"alice@lab {option} {public(keys / 'alice')}\n")
    assert words in refused(signature, allowed).message


@pytest.mark.parametrize(
    "option", ['valid-before="20990101"', 'valid-after="20200101"', 'namespaces="git,xttsreg-*"']
)
def test_a_line_that_holds(keys: Path, signature: bytes, tmp_path: Path, option: str) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text(
        f'old@lab valid-before="20200101" {public(keys / "mallory")}\n'
        f"alice@lab {option} {public(keys / 'alice')}\n"
    )
    assert verified(signature, allowed).principal == "alice@lab"
    unknown = make_key(tmp_path, "unknown")
    assert "does not know" in refused(sign(DATA, unknown, NS), allowed).message


def test_no_signature_at_all(keys: Path, signature: bytes, tmp_path: Path) -> None:
    allowed = allow(tmp_path / "allowed", alice=keys / "alice")
    middle = len(signature) // 2
    flipped = bytearray(signature)
    flipped[middle] ^= 1
    for wrong in (b"", b"x" * 100_000, signature[:middle], b"\xff" * 40, bytes(flipped)):
        refused(wrong, allowed)


def test_nobody_is_allowed(signature: bytes, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    for text in ("# nobody yet\n", "garbage\n", "alice@lab ssh-ed25519 AAAA\n"):
        allowed.write_text(text)
        refused(signature, allowed)


# --- the key ------------------------------------------------------------------------------------


def test_a_key_that_is_none(tmp_path: Path) -> None:
    for call in (lambda k: k.fingerprint(), lambda k: k.sign(DATA, NS)):
        with pytest.raises(InvalidInputError, match="no such key"):
            call(SigningKey(tmp_path / "absent"))
    (tmp_path / "text").write_text("hello\n")
    with pytest.raises(InvalidInputError, match="not an SSH key"):
        SigningKey(tmp_path / "text").fingerprint()
    with pytest.raises(SigningFailed):
        SigningKey(tmp_path / "text").sign(DATA, NS)


def test_a_passphrase_is_never_waited_for_without_a_person(tmp_path: Path) -> None:
    """In a process that has a terminal: ssh-keygen would find it, whatever its stdin is."""
    key = make_key(tmp_path, "locked", passphrase="secret")
    assert SigningKey(key).fingerprint() == fingerprint(key)
    code = (
        "from pathlib import Path; from xttsreg.errors import SigningFailed\n"
        "from xttsreg.ops.signing import SigningKey\n"
        f"try: SigningKey(Path({str(key)!r})).sign(b'x', 'n')\n"
        "except SigningFailed as error: raise SystemExit(f'{error.message} / {error.hint}')\n"
    )
    said = on_a_terminal(code, "")
    assert "passphrase" in said
    assert "agent" in said


def test_a_person_is_asked_on_the_terminal(tmp_path: Path) -> None:
    key = make_key(tmp_path, "locked", passphrase="secret")
    code = (
        "from pathlib import Path; from xttsreg.ops.signing import SigningKey, check\n"
        f"done = SigningKey(Path({str(key)!r}), interactive=True).sign(b'x', 'n')\n"
        "print(check(b'x', done, 'n', what='').fingerprint)\n"
    )
    assert fingerprint(key) in on_a_terminal(code, "secret\n")


def on_a_terminal(code: str, typed: str) -> str:
    """What Python prints on a terminal of its own."""
    pty = pytest.importorskip("pty")
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", code])
    said, deadline = b"", time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # Linux says EIO when the other side has closed
            break
        if not chunk:
            break
        said += chunk
        if typed and b"assphrase" in said:
            os.write(terminal, typed.encode())
            typed = ""
    os.waitpid(child, 0)
    assert time.monotonic() < deadline, said
    return said.decode()


def test_an_agent_signs_for_a_public_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("ssh-agent"):
        pytest.skip("no ssh-agent here")
    key = make_key(tmp_path, "key")
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            if socket.exists():
                break
            time.sleep(0.02)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", str(key)], check=True, capture_output=True)
        key.unlink()
        signature = sign(DATA, tmp_path / "key.pub", NS)
    finally:
        agent.terminate()
        agent.wait()
    allowed = tmp_path / "allowed"
    allowed.write_text(f"alice@lab {public(key)}\n")
    assert verified(signature, allowed).principal == "alice@lab"
    monkeypatch.delenv("SSH_AUTH_SOCK")
    with pytest.raises(SigningFailed):
        sign(DATA, tmp_path / "key.pub", NS)


# --- the program --------------------------------------------------------------------------------


def test_no_program(signature: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match="ssh-keygen is not there") as caught:
        check(DATA, signature, NS, what="x")
    assert (caught.value.exit_code, "OpenSSH" in str(caught.value.hint)) == (8, True)


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("echo 'unknown option -- Y' >&2; echo 'usage: ssh-keygen' >&2; exit 1",
         MissingDependency, "too old"),
        # Neither the words alone nor the status alone are enough.
        (f'echo \'Good "{NS}" signature with ED25519 key SHA256:{"A" * 43}\'; exit 1',
         SignatureInvalid, "x"),
        ("exit 0", SignatureInvalid, "x"),
        (f'echo \'Good "other" signature with ED25519 key SHA256:{"A" * 43}\'',
         SignatureInvalid, "x"),
    ],
)  # fmt: skip
def test_a_program_that_is_old_or_odd(
    signature: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str,
    kind: type[XttsregError], words: str,
) -> None:  # fmt: skip
    program = tmp_path / "ssh-keygen"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(kind, match=words):
        check(DATA, signature, NS, what="x")
