"""The contract of a store: blobs by digest, and tags that resolve to manifests.

Everything that moves content is one `copy` between two of these. ``tests/contract`` runs one
suite over every implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol, runtime_checkable

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import INDEX_TYPE, MANIFEST_TYPE, Index, Manifest
from xttsreg.content.reference import Reference
from xttsreg.content.stream import Advance, Readable, no_advance, read_verified
from xttsreg.errors import (
    BlobNotFound,
    IntegrityError,
    InvalidManifest,
    NewerFormat,
    TagNotFound,
)


class BlobSource(Protocol):
    """Where blobs are read."""

    def has(self, blob: Descriptor, *, advance: Advance = no_advance) -> bool:
        """Whether the blob is there *and right*: size and digest, not the name alone.

        ``advance`` hears of bytes that are read for it, and may end a wait.
        """

    def open(self, blob: Descriptor) -> BinaryIO:
        """The blob's bytes, **not yet verified**: hash what you read, as `put` does.

        Raises:
            BlobNotFound: it is not there.
        """


class Sink(Protocol):
    """Where bytes go that come from far away; a store's unfinished blob.

    Attributes:
        offset_bytes: How much is there already: where to resume.
    """

    offset_bytes: int

    def write(self, data: bytes) -> None:
        """Append."""

    def restart(self) -> None:
        """Drop what is there; ``offset_bytes`` is 0 after it."""


@runtime_checkable
class ResumableSource(Protocol):
    """A place far away, whose blobs are better fetched from where a transfer stopped."""

    def fill(
        self, blob: Descriptor, sink: Sink, *, sleep: Callable[[float], None], advance: Advance
    ) -> None:
        """Bring a blob into a sink up to its size, from where the sink is. Not yet verified.

        Raises:
            BlobNotFound: it is not there.
            RemoteError: it failed for good, or too often.
        """


class Source(BlobSource, Protocol):
    """A place that can be copied from."""

    def entries(self) -> tuple[Descriptor, ...]:
        """Every manifest that is held on purpose, tagged or not."""

    def tags(self) -> Mapping[str, Descriptor]:
        """``name:tag`` to manifest, sorted."""

    def referrers(self, subject: Digest) -> list[tuple[Descriptor, Manifest]]:
        """The manifests here that speak about another one."""


class Target(Protocol):
    """A place that can be copied to."""

    def has(self, blob: Descriptor, *, advance: Advance = no_advance) -> bool:
        """See `BlobSource.has`."""

    def put(self, blob: Descriptor, source: Readable, advance: Advance = no_advance) -> None:
        """Take a blob in, all of it or nothing.

        Raises:
            SizeMismatch, DigestMismatch: the source has other bytes; nothing was stored.
        """

    def stage(
        self, blob: Descriptor, source: Readable, advance: Advance = no_advance
    ) -> Callable[[], None]:
        """Take a blob in, proven, but under no name until the returned function is called.

        Only within `writing`; what is not published by its end is dropped.

        Raises:
            SizeMismatch, DigestMismatch: as `put`.
        """

    def put_bytes(self, media_type: str, data: bytes) -> Descriptor:
        """Take small content in and describe it."""

    def writing(self) -> AbstractContextManager[object]:
        """A span in which blobs that no tag holds yet are safe from `gc`. Re-entrant."""

    def tag(self, tagged: str, manifest: Descriptor) -> None:
        """Point a tag at a manifest that is there.

        Raises:
            BlobNotFound: it is not.
        """

    def hold(self, manifest: Descriptor) -> None:
        """Hold a manifest without a name, e.g. one that speaks about another (a referrer)."""


class Store(Source, Target, Protocol):
    """A place of our own: also names can be taken back."""

    def untag(self, tagged: str) -> None:
        """Remove a tag.

        Raises:
            TagNotFound: there is none.
        """

    def release(self, digest: Digest) -> None:
        """Undo `hold`, and every tag on this manifest."""


def resolve(store: Source, reference: Reference) -> Descriptor:
    """The descriptor of the manifest that a reference means.

    Raises:
        TagNotFound: no such tag or digest; the hint lists what comes close.
    """
    if reference.digest:
        for entry in store.entries():
            if entry.digest == reference.digest:
                return entry
    else:
        found = store.tags().get(reference.tagged)
        if found is not None:
            return found
    raise TagNotFound(f"{reference}: not in this store", hint=_near(store, reference))


def _near(store: Source, reference: Reference) -> str:
    tags = list(store.tags())
    same = [tag for tag in tags if tag.partition(":")[0] == reference.name]
    if same:
        return f"this store has {', '.join(same[:5])}"
    if tags:
        return f"`xttsreg ls` shows what is there, e.g. {tags[0]}"
    return "the store is empty: `xttsreg fetch NAME` or `xttsreg import DIR` fills it"


def read_manifest(store: BlobSource, entry: Descriptor) -> Manifest:
    """Read and prove a manifest.

    Raises:
        BlobNotFound, DigestMismatch, SizeMismatch, InvalidManifest: as the names say.
    """
    if entry.size_bytes > 4 * 1024 * 1024:
        raise InvalidManifest(f"manifest {entry.digest.short}: {entry.size_bytes} bytes")
    with store.open(entry) as raw:
        data = read_verified(raw, entry, what=f"manifest {entry.digest.short}")
    return Manifest.parse(data, f"manifest {entry.digest.short}")


def reachable(store: BlobSource, entry: Descriptor) -> dict[Digest, Descriptor]:
    """Every blob that an entry of an index needs, itself included; indexes may be nested.

    Raises:
        BlobNotFound, IntegrityError, InvalidManifest: something on the way cannot be read.
    """
    found = {entry.digest: entry}
    if entry.media_type == INDEX_TYPE:
        with store.open(entry) as raw:
            index = Index.parse(read_verified(raw, entry), f"index {entry.digest.short}")
        for child in index.manifests:
            found.update(reachable(store, child))
    elif entry.media_type == MANIFEST_TYPE:
        found.update({blob.digest: blob for blob in read_manifest(store, entry).blobs()})
    return found


def find_referrers(store: Source, subject: Digest) -> list[tuple[Descriptor, Manifest]]:
    """`Source.referrers` for a store whose entries can all be read."""
    found = []
    tagged = {entry.digest for entry in store.tags().values()}
    for entry in store.entries():
        if entry.digest not in tagged and entry.media_type == MANIFEST_TYPE:
            try:
                manifest = read_manifest(store, entry)
            except (BlobNotFound, IntegrityError, InvalidManifest, NewerFormat):
                continue  # what cannot be read speaks about nothing; `verify` names it
            if manifest.subject and manifest.subject.digest == subject:
                found.append((entry, manifest))
    return found
