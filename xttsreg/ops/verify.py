"""Reading everything again: is the store what it says it is?"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import MANIFEST_TYPE
from xttsreg.errors import XttsregError
from xttsreg.ops.parallel import Cancel, in_parallel
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores.base import reachable, read_manifest
from xttsreg.stores.layout import LayoutStore


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        blob: What should be there.
        what: What it is to people: a file name, ``manifest`` or ``config``.
        refs: The names that need it.
        reason: ``missing`` or ``damaged``, or what a manifest's reader said.
    """

    blob: Descriptor
    what: str
    refs: Sequence[str]
    reason: str

    @property
    def digest(self) -> Digest:
        """The blob's."""
        return self.blob.digest


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found.

    Attributes:
        blobs: Number of blobs that were looked at.
        size_bytes: Their bytes.
        problems: Empty if all is well.
    """

    blobs: int
    size_bytes: int
    problems: Sequence[Problem]


def verify(
    store: LayoutStore,
    entries: Sequence[Descriptor],
    *,
    use_cache: bool = True,
    progress: Progress = QUIET,
) -> Verified:
    """Check manifests and every blob they need.

    Args:
        store: Which.
        entries: From ``store.entries()``; tags are read from their annotations.
        use_cache: Believe a record of an earlier check if the file looks the same since.
        progress: Watches.
    """
    problems: list[Problem] = []
    wanted: dict[Digest, tuple[Descriptor, str, list[str]]] = {}
    for entry in entries:
        ref = entry.annotations.get("org.opencontainers.image.ref.name", "(referrer)")
        try:
            named = _named(store, entry)
        except XttsregError as error:
            problems.append(Problem(entry, "manifest", [ref], error.message))
            continue
        for what, blob in named.items():
            wanted.setdefault(blob.digest, (blob, what, []))[2].append(ref)
    found = _check(store, wanted, use_cache, progress)
    size_bytes = sum(blob.size_bytes for blob, _, _ in wanted.values())
    return Verified(len(wanted) + len(entries), size_bytes, [*problems, *found])


def _named(store: LayoutStore, entry: Descriptor) -> Mapping[str, Descriptor]:
    """What an entry needs, by a name for people."""
    if entry.media_type != MANIFEST_TYPE:  # an index of another tool's; its parts by digest
        parts = reachable(store, entry)
        return {digest: blob for digest, blob in parts.items() if digest != entry.digest}
    manifest = read_manifest(store, entry)
    files = {layer.file_path or layer.digest: layer for layer in manifest.layers}
    return {"config": manifest.config, **files}


def _check(
    store: LayoutStore,
    wanted: Mapping[Digest, tuple[Descriptor, str, list[str]]],
    use_cache: bool,
    progress: Progress,
) -> list[Problem]:
    def one(item: tuple[Descriptor, str, list[str]], cancel: Cancel) -> Problem | None:
        blob, what, refs = item
        with progress.task(what, blob.size_bytes) as advance:
            if store.has(blob, use_cache=use_cache, advance=cancel.watch(advance)):
                return None
        there = os.path.lexists(store.blob_path(blob.digest))
        return Problem(blob, what, refs, "damaged" if there else "missing")

    largest_first = sorted(wanted.values(), key=lambda item: -item[0].size_bytes)
    return [problem for problem in in_parallel(one, largest_first) if problem]
