from __future__ import annotations

from pathlib import Path

import pytest
from support.ssh import allow, make_key, needs_ssh, revoke, sign

from xttsreg.errors import (
    InvalidInputError,
    MissingDependency,
    OlderBundle,
    SignatureInvalid,
    SignatureMissing,
    StoreError,
)
from xttsreg.ops.received import FILE, Received, record, require_newest
from xttsreg.ops.signing import Signer
from xttsreg.ops.trust import UNSIGNED, Trust, find_trust
from xttsreg.stores.layout import LayoutStore

NS = "n"


@pytest.fixture(autouse=True)
def clean(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    monkeypatch.setenv("XTTSREG_HOME", str(home))
    for name in ("XTTSREG_TRUST", "XTTSREG_REVOKED"):
        monkeypatch.delenv(name, raising=False)


# --- where the policy comes from ----------------------------------------------------------------


def test_nobody_has_said_anything() -> None:
    assert find_trust() == Trust()


def test_given_then_environment_then_home(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {}
    for name in ("allowed_signers", "revoked_keys"):
        files[name] = [home / name, tmp_path / f"{name}.env", tmp_path / f"{name}.given"]
        for path in files[name]:
            path.write_text("x\n")
    signers, revoked = files["allowed_signers"], files["revoked_keys"]
    assert find_trust() == Trust(allowed_signers=signers[0], revoked=revoked[0])
    monkeypatch.setenv("XTTSREG_TRUST", str(signers[1]))
    monkeypatch.setenv("XTTSREG_REVOKED", str(revoked[1]))
    assert find_trust() == Trust(allowed_signers=signers[1], revoked=revoked[1])
    assert find_trust(signers[2], revoked[2], allow_unsigned=True) == Trust(
        allowed_signers=signers[2], revoked=revoked[2], allow_unsigned=True
    )


def test_a_file_that_is_named_must_be_there(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = tmp_path / "absent"
    for call in (lambda: find_trust(absent), lambda: find_trust(None, absent)):
        with pytest.raises(InvalidInputError, match="absent: No such file"):
            call()
    (home / "allowed_signers").write_text("\n")
    with pytest.raises(InvalidInputError, match="is empty"):
        find_trust()
    (home / "allowed_signers").unlink()
    (home / "allowed_signers").symlink_to(absent)
    with pytest.raises(InvalidInputError, match="No such file"):
        find_trust()
    monkeypatch.setenv("XTTSREG_TRUST", str(absent))
    with pytest.raises(InvalidInputError, match="absent"):
        find_trust()


# --- what it decides ----------------------------------------------------------------------------


def test_unsigned(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    assert Trust().authenticate(b"x", None, NS, what="x") == UNSIGNED
    with pytest.raises(SignatureMissing, match="not signed") as caught:
        Trust(allowed_signers=allowed).authenticate(b"x", None, NS, what="x")
    assert (caught.value.exit_code, "--allow-unsigned" in str(caught.value.hint)) == (4, True)
    lax = Trust(allowed_signers=allowed, allow_unsigned=True)
    assert lax.authenticate(b"x", None, NS, what="x") == UNSIGNED


@needs_ssh
def test_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, mallory = (make_key(tmp_path, name) for name in ("alice", "mallory"))
    allowed = allow(tmp_path / "allowed", alice=alice)
    good, bad = sign(b"x", alice, NS), sign(b"x", mallory, NS)
    strict = Trust(allowed_signers=allowed)
    origin = strict.authenticate(b"x", good, NS, what="x")
    assert origin.signer
    assert str(origin) == f"signed by alice@lab ({origin.signer.fingerprint})"
    assert origin.to_json()["trusted"] is True
    # Whoever may be unsigned may not be signed wrongly.
    for trust in (strict, Trust(allowed_signers=allowed, allow_unsigned=True)):
        for data, signature in ((b"x", bad), (b"y", good)):
            with pytest.raises(SignatureInvalid):
                trust.authenticate(data, signature, NS, what="x")
    krl = revoke(tmp_path / "krl", alice)
    with pytest.raises(SignatureInvalid, match="revokes"):
        Trust(allowed_signers=allowed, revoked=krl).authenticate(b"x", good, NS, what="x")
    # Without a trust file: the key, but no name; and still no other bytes.
    nameless = Trust().authenticate(b"x", good, NS, what="x")
    assert nameless.signer == Signer(origin.signer.fingerprint)
    assert "no trust file" in str(nameless)
    assert nameless.to_json()["trusted"] is False
    with pytest.raises(SignatureInvalid):
        Trust().authenticate(b"y", good, NS, what="x")
    monkeypatch.setenv("PATH", str(tmp_path))
    unchecked = Trust().authenticate(b"x", good, NS, what="x")
    assert "not checked" in str(unchecked)
    assert unchecked.to_json()["trusted"] is False
    with pytest.raises(MissingDependency):
        strict.authenticate(b"x", good, NS, what="x")


# --- what came before ---------------------------------------------------------------------------


def bundle(number: int, name: str = "") -> Received:
    return Received(sequence=number, bundle_id=name or f"id-{number}", created="2026-01-01")


ALICE, BOB = Signer("SHA256:a", "alice"), Signer("SHA256:b", "bob")


def test_an_older_bundle_is_refused(store: LayoutStore) -> None:
    require_newest(store, ALICE, bundle(5))
    record(store, ALICE, bundle(5))
    for fine in (bundle(5), bundle(6)):
        require_newest(store, ALICE, fine)
    for old in (bundle(4), bundle(5, "other")):
        with pytest.raises(OlderBundle, match="id-5") as caught:
            require_newest(store, ALICE, old)
        assert (caught.value.exit_code, "--allow-older" in str(caught.value.hint)) == (4, True)
    require_newest(store, BOB, bundle(1))  # another key counts for itself
    with pytest.raises(OlderBundle):  # and a key counts under any name
        require_newest(store, Signer("SHA256:a", "somebody"), bundle(4))


def test_the_record_never_goes_back(store: LayoutStore) -> None:
    for number in (5, 3, 7, 6):
        record(store, ALICE, bundle(number))
    record(store, BOB, bundle(2))
    again = LayoutStore.open_existing(store.root)
    for signer, newest in ((ALICE, 7), (BOB, 2)):
        require_newest(again, signer, bundle(newest))
        with pytest.raises(OlderBundle):
            require_newest(again, signer, bundle(newest - 1))
    assert [path.name for path in store.state.glob("received*")] == [FILE]


def test_a_damaged_record_is_not_an_empty_one(store: LayoutStore) -> None:
    record(store, ALICE, bundle(5))
    (store.state / FILE).write_text("{")
    for call in (require_newest, record):
        with pytest.raises(StoreError, match=FILE):
            call(store, ALICE, bundle(6))
