"""A store in memory: the smallest thing that keeps the contract. For tests and dry runs."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Index, Manifest
from xttsreg.content.stream import Advance, Readable, no_advance, read_verified
from xttsreg.errors import BlobNotFound, TagNotFound
from xttsreg.stores.base import find_referrers


class MemoryStore:
    """A store that is gone with its process."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self._index = Index()

    def has(self, blob: Descriptor, *, advance: Advance = no_advance) -> bool:
        """See `base.BlobSource.has`."""
        data = self.blobs.get(blob.digest)
        return data is not None and Digest.of(data) == blob.digest and len(data) == blob.size_bytes

    def open(self, blob: Descriptor) -> BinaryIO:
        """See `base.BlobSource.open`."""
        try:
            return io.BytesIO(self.blobs[blob.digest])
        except KeyError:
            raise BlobNotFound(f"blob {blob.digest} is not in this store") from None

    def put(self, blob: Descriptor, source: Readable, advance: Advance = no_advance) -> None:
        """See `base.Target.put`."""
        self.stage(blob, source, advance)()

    def stage(
        self, blob: Descriptor, source: Readable, advance: Advance = no_advance
    ) -> Callable[[], None]:
        """See `base.Target.stage`."""
        data = read_verified(source, blob)
        advance(len(data))
        return lambda: self.blobs.update({blob.digest: data})

    def put_bytes(self, media_type: str, data: bytes) -> Descriptor:
        """See `base.Target.put_bytes`."""
        blob = Descriptor(media_type=media_type, digest=Digest.of(data), size_bytes=len(data))
        self.blobs[blob.digest] = data
        return blob

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """See `base.Target.writing`."""
        yield

    def replace_index(self, index: Index) -> None:
        """Hold what another store's index holds; the blobs come apart from it."""
        self._index = index

    def entries(self) -> tuple[Descriptor, ...]:
        """See `base.Source.entries`."""
        return self._index.manifests

    def tags(self) -> Mapping[str, Descriptor]:
        """See `base.Source.tags`."""
        return self._index.tags()

    def referrers(self, subject: Digest) -> list[tuple[Descriptor, Manifest]]:
        """See `base.Source.referrers`."""
        return find_referrers(self, subject)

    def tag(self, tagged: str, manifest: Descriptor) -> None:
        """See `base.Target.tag`."""
        self.open(manifest)
        self._index = self._index.with_tag(tagged, manifest)

    def untag(self, tagged: str) -> None:
        """See `base.Store.untag`."""
        if self._index.find(tagged) is None:
            raise TagNotFound(f"{tagged}: not in this store")
        self._index = self._index.without_tag(tagged)

    def hold(self, manifest: Descriptor) -> None:
        """See `base.Target.hold`."""
        self.open(manifest)
        self._index = self._index.with_untagged(manifest)

    def release(self, digest: Digest) -> None:
        """See `base.Store.release`."""
        self._index = self._index.without_digest(digest)
