"""Signed bundles on several sticks: one signer, one bundle, whatever the order."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import filled_store, make_small_set
from support.ssh import allow, make_key, sign

from xttsreg.content.bundle import PARTS, SIGNATURE, SUMS
from xttsreg.errors import BundleMismatch, IntegrityError, OlderBundle, SignatureInvalid
from xttsreg.ops.bundle import Media, bundle
from xttsreg.ops.gate import Policy
from xttsreg.ops.importing import import_bundle, import_volumes
from xttsreg.ops.signing import BUNDLE_NAMESPACE, SigningKey
from xttsreg.ops.trust import Trust
from xttsreg.ops.verify import verify
from xttsreg.stores.layout import LayoutStore

pytestmark = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen here")

TWO = Media(volume_bytes=250_000)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Alice and bob are trusted, both."""
    directory = tmp_path_factory.mktemp("keys")
    pair = {name: make_key(directory, name) for name in ("alice", "bob")}
    allow(directory / "allowed", **pair)
    return directory


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    """Two bundles of two volumes each: ``old`` and ``new``; the same name, other contents."""
    root = tmp_path_factory.mktemp("made")
    for number, name in enumerate(("old", "new"), 1):
        weights = make_small_set(root / f"w{number}", seed=number)
        store = filled_store(root / "store", weights, ref=f"{name}:v1")
        tags = {f"{name}:v1": store.tags()[f"{name}:v1"]}
        done = bundle(store, tags, root / name, media=TWO, key=SigningKey(keys / "alice"))
        assert done.bundle.volumes == 2
        assert done.bundle.parts
    return root


@pytest.fixture
def sticks(made: Path, tmp_path: Path) -> tuple[Path, Path]:
    """One's own copy of ``new``."""
    shutil.copytree(made / "new", tmp_path / "sticks")
    return tmp_path / "sticks" / "volume-1", tmp_path / "sticks" / "volume-2"


@pytest.fixture
def trust(keys: Path) -> Trust:
    return Trust(allowed_signers=keys / "allowed")


def resign(stick: Path, key: Path) -> None:
    (stick / SIGNATURE).write_bytes(sign((stick / SUMS).read_bytes(), key, BUNDLE_NAMESPACE))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_after_the_other(
    sticks: tuple[Path, Path], store: LayoutStore, trust: Trust, order: tuple[int, int]
) -> None:
    first = import_bundle(sticks[order[0]], store, policy=Policy(trust=trust))
    assert (len(first.missing), dict(store.tags())) == (1, {})
    last = import_bundle(sticks[order[1]], store, policy=Policy(trust=trust))
    assert (list(last.missing), list(store.tags())) == ([], ["new:v1"])
    assert "alice@lab" in str(first.origin) == str(last.origin)
    assert verify(store, store.entries(), use_cache=False).problems == []


def test_the_signature_of_volume_1_on_volume_2(
    sticks: tuple[Path, Path], store: LayoutStore, trust: Trust
) -> None:
    shutil.copy(sticks[0] / SIGNATURE, sticks[1] / SIGNATURE)
    for policy in (trust, Trust()):
        with pytest.raises(SignatureInvalid, match="other bytes"):
            import_bundle(sticks[1], store, policy=Policy(trust=policy))
    with pytest.raises(SignatureInvalid, match="other bytes"):
        import_volumes(sticks, store, policy=Policy(trust=trust))
    assert list(store.blob_digests()) == []


def test_two_signers_of_one_bundle(
    sticks: tuple[Path, Path], store: LayoutStore, trust: Trust, keys: Path
) -> None:
    right = (sticks[1] / SIGNATURE).read_bytes()
    resign(sticks[1], keys / "bob")
    with pytest.raises(SignatureInvalid, match="alice@lab.*bob@lab"):
        import_volumes(sticks, store, policy=Policy(trust=trust))
    assert list(store.blob_digests()) == []
    import_bundle(sticks[0], store, policy=Policy(trust=trust))
    with pytest.raises(SignatureInvalid, match="volume") as caught:
        import_bundle(sticks[1], store, policy=Policy(trust=trust))
    assert (caught.value.exit_code, bool(caught.value.hint)) == (4, True)
    assert dict(store.tags()) == {}
    (sticks[1] / SIGNATURE).write_bytes(right)
    assert import_bundle(sticks[1], store, policy=Policy(trust=trust)).missing == []
    assert list(store.tags()) == ["new:v1"]


@pytest.mark.parametrize("unsigned", [0, 1])
def test_one_volume_is_not_signed(
    sticks: tuple[Path, Path], store: LayoutStore, trust: Trust, unsigned: int
) -> None:
    (sticks[unsigned] / SIGNATURE).unlink()
    lax = Trust(allowed_signers=trust.allowed_signers, allow_unsigned=True)
    import_bundle(sticks[0], store, policy=Policy(trust=lax))
    with pytest.raises(SignatureInvalid, match="not signed"):
        import_bundle(sticks[1], store, policy=Policy(trust=lax))
    assert dict(store.tags()) == {}


def test_parts_of_two_bundles(
    made: Path, sticks: tuple[Path, Path], store: LayoutStore, trust: Trust
) -> None:
    """Both are signed by alice, and have parts of the same size at the same place."""
    (here,) = (sticks[1]).glob(f"{PARTS}*")
    (other,) = (made / "old" / "volume-2").glob(f"{PARTS}*")
    assert here.stat().st_size == other.stat().st_size
    right = here.read_bytes()
    here.write_bytes(other.read_bytes())
    import_bundle(sticks[0], store, policy=Policy(trust=trust))
    with pytest.raises(IntegrityError, match=here.name):
        import_bundle(sticks[1], store, policy=Policy(trust=trust))
    assert dict(store.tags()) == {}
    with pytest.raises(BundleMismatch, match="another bundle"):
        import_volumes([sticks[0], made / "old" / "volume-2"], store, policy=Policy(trust=trust))
    here.write_bytes(right)
    import_bundle(sticks[1], store, policy=Policy(trust=trust))
    assert verify(store, store.entries(), use_cache=False).problems == []


def test_an_older_volume(
    made: Path, sticks: tuple[Path, Path], store: LayoutStore, trust: Trust
) -> None:
    """A bundle counts when all of it is there; its first volume alone blocks nothing."""
    old = [made / "old" / f"volume-{number}" for number in (1, 2)]
    import_bundle(sticks[0], store, policy=Policy(trust=trust))
    import_bundle(old[0], store, policy=Policy(trust=trust))
    import_bundle(sticks[1], store, policy=Policy(trust=trust))
    assert list(store.tags()) == ["new:v1"]
    with pytest.raises(OlderBundle):
        import_bundle(old[1], store, policy=Policy(trust=trust))
    done = import_bundle(old[1], store, policy=Policy(trust=trust, allow_older=True))
    assert (done.missing, list(store.tags())) == ([], ["new:v1", "old:v1"])
