"""Mending a store: what is missing or damaged is brought again from another copy, by its digest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xttsreg.content.canonical import MAX_MANIFEST_BYTES
from xttsreg.content.descriptor import REF_NAME, Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import MANIFEST_TYPE, Index, Manifest
from xttsreg.errors import BlobNotFound, IntegrityError, InvalidManifest, NewerFormat
from xttsreg.ops.copies import Copy
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.ops.verify import Verified, verify
from xttsreg.stores import spare
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.names import INDEX_FILE

RECOVERED = "recovered"
"""Name of what has lost its own; the tag is the beginning of its digest."""


def repair(
    store: LayoutStore,
    entries: Sequence[Descriptor],
    found: Verified,
    copies: Sequence[Copy],
    *,
    progress: Progress = QUIET,
) -> Verified:
    """Bring what a verification has found to be wrong, each byte proven, and verify again.

    A manifest that is mended may show what else is missing, so this goes on while it helps.

    Args:
        store: To be mended.
        entries: What was verified.
        found: By `verify`.
        copies: To take from, in order.
        progress: Watches.

    Returns:
        What is still wrong.

    Raises:
        RemoteError: a copy cannot be reached.
        StoreError: the disk does not let us.
    """
    while found.problems:
        with store.writing():
            mended = [p for p in found.problems if _bring(store, p.blob, copies, progress)]
        if not mended:
            break
        for problem in mended:
            progress.note(f"mended: {problem.what} of {', '.join(problem.refs)}")
        found = verify(store, entries, progress=progress)
    return found


def _bring(
    store: LayoutStore, blob: Descriptor, copies: Sequence[Copy], progress: Progress
) -> bool:
    for copy in copies:
        with progress.task(f"mend {blob.digest.short}", blob.size_bytes) as advance:
            if copy.bring(store, blob, advance):
                return True
    return False


def index_problem(store: LayoutStore) -> str | None:
    """What is wrong with ``index.json``; None if it can be read.

    Raises:
        NewerFormat: a later version wrote it. That is not ours to mend.
    """
    try:
        store.index()
    except NewerFormat:
        if not spare.differs(store.state, store.root / INDEX_FILE):
            raise
    except (IntegrityError, InvalidManifest) as error:
        return error.message
    if spare.differs(store.state, store.root / INDEX_FILE):
        return f"{INDEX_FILE}: other bytes than were written, though nobody has written since"
    return None


def mend_index(
    store: LayoutStore, copies: Sequence[Copy], *, progress: Progress = QUIET
) -> Sequence[str]:
    """Write an index anew that cannot be read any more.

    From the store's second copy of it, which has all names. If that is gone as well, from the
    copies' names for what is here; what is left then gets a name to be found by, so that `gc`
    does not take it for garbage.

    Returns:
        Names that had to be made up.
    """
    index, made_up = spare.read(store.state), []
    if index is None:
        here = dict(_manifests(store))
        index = Index()
        for copy in copies:
            for entry in (copy.names() or Index()).manifests:
                if entry.digest in here:
                    index = _with(index, entry)
        known = {entry.digest for entry in index.manifests}
        for digest, (entry, manifest) in sorted(here.items()):
            if digest in known:
                continue
            if manifest.subject is None:
                made_up.append(f"{RECOVERED}:{digest.hex[:12]}")
                index = index.with_tag(made_up[-1], entry)
            else:
                index = index.with_untagged(entry)
    store.replace_index(index)
    progress.note(f"mended: index.json, {len(index.tags())} names")
    return made_up


def _with(index: Index, entry: Descriptor) -> Index:
    tagged = entry.annotations.get(REF_NAME)
    if tagged is None:
        return index.with_untagged(entry)
    return index if index.find(tagged) else index.with_tag(tagged, entry)


def _manifests(store: LayoutStore) -> Iterator[tuple[Digest, tuple[Descriptor, Manifest]]]:
    """Every manifest among the blobs, proven."""
    for digest in store.blob_digests():
        size_bytes = store.blob_path(digest).lstat().st_size
        if size_bytes > MAX_MANIFEST_BYTES:
            continue
        entry = Descriptor(media_type=MANIFEST_TYPE, digest=digest, size_bytes=size_bytes)
        try:
            manifest = read_manifest(store, entry)
        except (BlobNotFound, IntegrityError, InvalidManifest, NewerFormat):
            continue  # a file of a set, or damaged
        described = {"artifact_type": manifest.artifact_type}
        yield digest, (entry.model_copy(update=described), manifest)
