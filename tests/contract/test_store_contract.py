"""What every store promises, held against every store."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import blob_of
from support.registry import Registry, needs_registry

from xttsreg.content.descriptor import REF_NAME
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import EMPTY_BYTES, EMPTY_TYPE, MANIFEST_TYPE, Manifest
from xttsreg.content.reference import Reference
from xttsreg.content.stream import read_verified
from xttsreg.errors import BlobNotFound, DigestMismatch, IntegrityError, SizeMismatch, TagNotFound
from xttsreg.remote.address import Address
from xttsreg.remote.registry import RegistryStore
from xttsreg.stores.base import Store, read_manifest, resolve
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.memory import MemoryStore

DATA = b"some weights" * 1000
MAKERS: dict[str, Callable[[Path], Store]] = {
    "layout": lambda path: LayoutStore.create(path / "store"),
    "memory": lambda path: MemoryStore(),
}


@pytest.fixture(params=MAKERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MAKERS[request.param](tmp_path)


@pytest.fixture(params=[*MAKERS, pytest.param("registry", marks=needs_registry)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store | RegistryStore]:
    """Also a real registry: it keeps what both ends of a copy promise."""
    if request.param in MAKERS:
        yield MAKERS[request.param](tmp_path)
        return
    with Registry(tmp_path / "registry") as registry:
        yield RegistryStore(Address.parse(f"{registry.host}/a"), writable=True)


def put_manifest(
    store: Store | RegistryStore, layer: bytes = DATA, subject: Manifest | None = None
) -> Manifest:
    """A manifest and its blobs, in the store."""
    config = store.put_bytes(EMPTY_TYPE, EMPTY_BYTES)
    manifest = Manifest(
        config=config,
        layers=(store.put_bytes("a/b", layer),),
        subject=subject.describe() if subject else None,
    )
    store.put_bytes(MANIFEST_TYPE, manifest.to_bytes())
    return manifest


def test_what_is_put_comes_out(place: Store) -> None:
    steps: list[int] = []
    place.put(blob_of(DATA), io.BytesIO(DATA), steps.append)
    assert place.has(blob_of(DATA))
    with place.open(blob_of(DATA)) as raw:
        assert read_verified(raw, blob_of(DATA)) == DATA
    assert sum(steps) == len(DATA)


def test_an_empty_blob_is_a_blob(place: Store) -> None:
    place.put(blob_of(b""), io.BytesIO(b""))
    assert place.has(blob_of(b""))


def test_putting_twice_is_putting_once(place: Store) -> None:
    for _ in range(2):
        place.put(blob_of(DATA), io.BytesIO(DATA))
    assert place.has(blob_of(DATA))


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (DATA[:-1], SizeMismatch),
        (DATA + b"x", SizeMismatch),
        (b"", SizeMismatch),
        (b"S" + DATA[1:], DigestMismatch),
    ],
)
def test_other_bytes_are_refused_and_nothing_is_stored(
    place: Store, given: bytes, error: type[IntegrityError]
) -> None:
    with pytest.raises(error):
        place.put(blob_of(DATA), io.BytesIO(given))
    for data in (DATA, given):
        assert not place.has(blob_of(data))
        with pytest.raises(BlobNotFound):
            place.open(blob_of(data))


def test_a_failed_put_leaves_the_good_blob_alone(place: Store) -> None:
    place.put(blob_of(DATA), io.BytesIO(DATA))
    with pytest.raises(DigestMismatch):
        place.put(blob_of(DATA), io.BytesIO(b"S" + DATA[1:]))
    assert place.has(blob_of(DATA))


def test_a_source_that_fails_leaves_nothing(place: Store) -> None:
    class Breaks:
        def read(self, size: int = -1, /) -> bytes:
            raise ConnectionError("gone")

    with pytest.raises(Exception, match="gone"):
        place.put(blob_of(DATA), Breaks())
    assert not place.has(blob_of(DATA))


def test_a_descriptor_with_another_size_is_not_there(place: Store) -> None:
    place.put(blob_of(DATA), io.BytesIO(DATA))
    assert not place.has(blob_of(DATA).model_copy(update={"size_bytes": len(DATA) + 1}))


def test_staged_is_proven_but_not_there_until_published(store: Store) -> None:
    with store.writing():
        publish = store.stage(blob_of(DATA), io.BytesIO(DATA))
        assert not store.has(blob_of(DATA))
        publish()
        assert store.has(blob_of(DATA))


def test_staged_and_not_published_is_dropped(store: Store) -> None:
    with store.writing():
        store.stage(blob_of(DATA), io.BytesIO(DATA))
    assert not store.has(blob_of(DATA))


def test_writing_is_reentrant(store: Store) -> None:
    with store.writing(), store.writing():
        publish = store.stage(blob_of(DATA), io.BytesIO(DATA))
        with store.writing():
            pass
        publish()
    assert store.has(blob_of(DATA))


def test_put_bytes_describes(place: Store) -> None:
    described = place.put_bytes("x/y", DATA)
    assert (described.media_type, described.digest) == ("x/y", Digest.of(DATA))
    assert described.size_bytes == len(DATA)
    assert place.has(described)


def test_tags_resolve_move_and_go(store: Store) -> None:
    one, two = put_manifest(store), put_manifest(store, b"two")
    store.tag("b:1", one.describe())
    store.tag("a:1", one.describe())
    assert list(store.tags()) == ["a:1", "b:1"]
    store.tag("a:1", two.describe())
    assert resolve(store, Reference.parse("a:1")).digest == two.describe().digest
    assert resolve(store, Reference.parse("b:1")).digest == one.describe().digest
    assert read_manifest(store, resolve(store, Reference.parse("a:1"))) == two
    store.untag("a:1")
    assert list(store.tags()) == ["b:1"]
    with pytest.raises(TagNotFound):
        store.untag("a:1")


def test_a_digest_wins_over_the_tag(store: Store) -> None:
    one, two = put_manifest(store), put_manifest(store, b"two")
    store.tag("a:1", one.describe())
    store.tag("b:1", two.describe())
    assert (
        resolve(store, Reference("a", "1", two.describe().digest)).digest == two.describe().digest
    )


def test_unknown_names_and_digests(store: Store) -> None:
    with pytest.raises(TagNotFound, match=r"a:1") as empty:
        resolve(store, Reference.parse("a:1"))
    assert "empty" in str(empty.value.hint)
    store.tag("a:2", put_manifest(store).describe())
    with pytest.raises(TagNotFound) as near:
        resolve(store, Reference.parse("a:1"))
    assert "a:2" in str(near.value.hint)
    with pytest.raises(TagNotFound):
        resolve(store, Reference("a", "2", Digest.of(b"other")))


def test_a_tag_on_what_is_not_there_is_refused(place: Store) -> None:
    with pytest.raises(BlobNotFound):
        place.tag("a:1", blob_of(b"nowhere", MANIFEST_TYPE))
    with pytest.raises(BlobNotFound):
        place.hold(blob_of(b"nowhere", MANIFEST_TYPE))
    assert place.entries() == ()


def test_held_manifests_have_no_name_and_are_found_by_their_subject(place: Store) -> None:
    subject = put_manifest(place)
    place.tag("a:1", subject.describe())
    note = put_manifest(place, b"note", subject=subject)
    place.hold(note.describe())
    place.hold(note.describe())
    assert list(place.tags()) == ["a:1"]
    assert len(place.entries()) == 2
    found = place.referrers(subject.describe().digest)
    assert [(entry.digest, manifest) for entry, manifest in found] == [
        (note.describe().digest, note)
    ]
    assert place.referrers(note.describe().digest) == []
    assert all(REF_NAME not in entry.annotations for entry, _ in found)


def test_release_takes_a_manifest_and_its_tags_out(store: Store) -> None:
    one, two = put_manifest(store), put_manifest(store, b"two")
    for tag in ("a:1", "b:1"):
        store.tag(tag, one.describe())
    store.tag("c:1", two.describe())
    store.release(one.describe().digest)
    assert [entry.digest for entry in store.entries()] == [two.describe().digest]
