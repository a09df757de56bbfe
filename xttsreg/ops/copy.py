"""The one operation that moves content: bundle, import, push and pull are names for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Manifest
from xttsreg.errors import IntegrityError
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores.base import Store, read_manifest, referrers
from xttsreg.stores.layout import LayoutStore


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be copied: tags, and the manifests that speak about theirs.

    Attributes:
        tags: ``name:tag`` to manifest.
        held: Manifests without a name, such as acceptances of a licence.
        manifests: Each of the above, read and proven.
    """

    tags: Mapping[str, Descriptor]
    held: Sequence[Descriptor] = ()
    manifests: Mapping[Digest, Manifest] = field(default_factory=dict)

    def blobs(self) -> list[Descriptor]:
        """Every blob that the copy needs, each once; manifests last."""
        content = [blob for manifest in self.manifests.values() for blob in manifest.blobs()]
        entries = [entry.with_ref(None) for entry in (*self.tags.values(), *self.held)]
        return list({blob.digest: blob for blob in (*content, *entries)}.values())


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did.

    Attributes:
        blobs: Number of blobs that were copied.
        size_bytes: Their bytes.
        skipped_bytes: Bytes that were there already, and right.
    """

    blobs: int
    size_bytes: int
    skipped_bytes: int


def select(source: Store, tags: Mapping[str, Descriptor]) -> Selection:
    """These tags of a store, with everything that belongs to them.

    Raises:
        BlobNotFound, IntegrityError, InvalidManifest: a manifest is missing or wrong.
    """
    manifests = {entry.digest: read_manifest(source, entry) for entry in tags.values()}
    held = []
    for digest in list(manifests):
        for entry, manifest in referrers(source, digest):
            held.append(entry)
            manifests[entry.digest] = manifest
    return Selection(tags, held, manifests)


def copy(
    source: Store,
    target: Store,
    selection: Selection,
    *,
    take_over: bool = False,
    progress: Progress = QUIET,
) -> Copied:
    """Copy a selection, all of it or nothing: names appear once every blob is proven.

    Args:
        source: Where it is.
        target: Where it goes.
        selection: From `select`.
        take_over: Blobs may be hard-linked from the source instead of copied.
        progress: Watches.

    Raises:
        IntegrityError: the source has other bytes than it says; names the blob.
    """
    labels = _labels(selection)
    with target.writing():
        blobs = selection.blobs()

        def one(blob: Descriptor) -> Callable[[], None] | None:
            if target.has(blob):
                return None
            label = labels.get(blob.digest, blob.digest.short)
            return _stage(source, target, blob, label, take_over, progress)

        publishers = in_parallel(one, sorted(blobs, key=lambda blob: -blob.size_bytes))
        done = [publish for publish in publishers.values() if publish]
        for publish in done:
            publish()
        for tagged, entry in selection.tags.items():
            target.tag(tagged, entry)
        for entry in selection.held:
            target.hold(entry)
    copied = [blob for blob in blobs if publishers[blob.digest]]
    size_bytes = sum(blob.size_bytes for blob in copied)
    return Copied(len(copied), size_bytes, sum(b.size_bytes for b in blobs) - size_bytes)


def _stage(
    source: Store,
    target: Store,
    blob: Descriptor,
    label: str,
    take_over: bool,
    progress: Progress,
) -> Callable[[], None]:
    with progress.task(label, blob.size_bytes) as advance:
        try:
            if isinstance(source, LayoutStore) and isinstance(target, LayoutStore):
                source.open(blob).close()  # a regular file, or an error that says so
                path = source.blob_path(blob.digest)
                return target.stage_file(blob, path, advance, hardlink=take_over)
            with source.open(blob) as raw:
                return target.stage(blob, raw, advance)
        except IntegrityError as error:
            error.hint = error.hint or f"the damaged file is {label}; bring this one again"
            raise


def in_parallel(
    work: Callable[[Descriptor], Callable[[], None] | None], blobs: Iterable[Descriptor]
) -> dict[Digest, Callable[[], None] | None]:
    """Run ``work`` on each blob, as many at once as there are cores. Hashing releases the GIL."""
    todo = list(blobs)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            results = list(pool.map(work, todo))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {blob.digest: result for blob, result in zip(todo, results, strict=True)}


def _labels(selection: Selection) -> dict[Digest, str]:
    """A file name for each blob, for messages."""
    labels = {}
    for manifest in selection.manifests.values():
        for layer in manifest.layers:
            if layer.file_path:
                labels[layer.digest] = f"blobs/sha256/{layer.digest.hex} ({layer.file_path})"
    return labels
