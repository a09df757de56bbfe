"""Removing what nothing refers to: blobs without a tag, and what killed processes left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from xttsreg.content.descriptor import REF_NAME, Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import MANIFEST_TYPE, Index
from xttsreg.ops import arriving
from xttsreg.stores import durable, lease
from xttsreg.stores.base import reachable, read_manifest
from xttsreg.stores.layout import LayoutStore


@dataclass(frozen=True, slots=True)
class Garbage:
    """What a collection removes, or would remove.

    Attributes:
        blobs: Unreferenced blobs.
        files: Unfinished downloads and other temporary files.
        size_bytes: What both take on the disk.
    """

    blobs: Sequence[Digest]
    files: Sequence[Path]
    size_bytes: int


def gc(store: LayoutStore, *, dry_run: bool, arrivals: bool = False) -> Garbage:
    """Remove what nothing refers to.

    Args:
        store: Which.
        dry_run: Only look.
        arrivals: Also what has come of bundles of which other volumes are missing.

    Raises:
        StoreLocked: a process is writing; its new blobs look unreferenced.
        IntegrityError, BlobNotFound: a manifest that is held cannot be read, so nobody knows
            what it refers to. Nothing is removed then.
    """
    with store.locked(), durable.disk_errors(store.root):
        lease.require_no_living_lease(store.state)
        entries = store.entries()
        orphans = _orphans(store, entries)
        kept = set() if arrivals else arriving.awaited(store)
        for entry in entries:
            if entry.digest not in orphans:
                kept.update(reachable(store, entry))  # |= of keys would copy the set each time
        blobs = sorted(set(store.blob_digests()) - kept)
        files = _litter(store) + (arriving.arrived_files(store) if arrivals else [])
        paths = [*files, *(store.blob_path(digest) for digest in blobs)]
        size_bytes = sum(path.lstat().st_size for path in paths if not path.is_dir())
        if not dry_run:
            _remove(store, orphans, blobs, files)
    return Garbage(blobs, files, size_bytes)


def _orphans(store: LayoutStore, entries: Sequence[Descriptor]) -> set[Digest]:
    """Nameless manifests that speak about one that is gone."""
    held = {entry.digest for entry in entries}
    named = {entry.digest for entry in entries if REF_NAME in entry.annotations}
    nameless = [e for e in entries if e.digest not in named and e.media_type == MANIFEST_TYPE]
    subjects = {entry.digest: read_manifest(store, entry).subject for entry in nameless}
    return {
        digest for digest, subject in subjects.items() if subject and subject.digest not in held
    }


def _litter(store: LayoutStore) -> list[Path]:
    """What lies in the state directory for no living process. Records and locks stay."""
    state = store.state
    found = [path for path in (state / "partial").glob("*") if path.is_file()]
    found += [path for path in (state / "tmp").rglob("*") if path.is_file()]
    found += [path for path in (state / "tmp").glob("*") if path.is_dir()]
    found += [path for path in (state / "leases").glob("*.lock")]
    found += [path for path in (state / "environments").rglob("*") if path.is_file()]
    found += [*state.glob("*.tmp"), *state.glob("bundles/*.tmp")]
    return sorted(found)


def _remove(
    store: LayoutStore, orphans: set[Digest], blobs: Sequence[Digest], files: Sequence[Path]
) -> None:
    # The index goes first: a crash in between leaves unreferenced blobs, never dangling names.
    for orphan in orphans:
        store.change_index_locked(partial(Index.without_digest, digest=orphan))
    for digest in blobs:
        store.remove_blob(digest)
    with durable.disk_errors(store.root):
        for path in files:
            if not path.is_dir():
                path.unlink(missing_ok=True)
        durable.remove_tree(store.state / "tmp")
        durable.remove_tree(store.state / "environments")

        arriving.remove_empty(store)
