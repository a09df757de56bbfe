"""Catalogue to store: every byte checked against its pin, nothing fetched twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from xttsreg.catalog import PinnedFile, WeightSet
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.manifest import MANIFEST_TYPE
from xttsreg.content.modelpack import CONFIG_TYPE
from xttsreg.errors import InsufficientSpace, IntegrityError
from xttsreg.ops import licensing
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores.layout import LayoutStore

FILES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch did.

    Attributes:
        tagged: The name in the store.
        manifest: What it points at.
        fetched: Paths that came over the network.
        taken: Paths that came from a directory on this machine.
        present: Paths that were in the store already.
    """

    tagged: str
    manifest: Descriptor
    fetched: Sequence[str]
    taken: Sequence[str]
    present: Sequence[str]


def fetch(
    store: LayoutStore,
    item: WeightSet,
    *,
    ask: licensing.Ask,
    directories: Sequence[Path] = (),
    token: str | None = None,
    progress: Progress = QUIET,
) -> Fetched:
    """Bring a pinned weight set into the store.

    Args:
        store: Where to.
        item: From the catalogue.
        ask: Gets a yes to the licence, if one is needed and not in the store yet.
        directories: Looked at first: a file of the right name and digest is taken from there.
        token: For the hub that the first source is on.
        progress: Watches.

    Raises:
        LicenseNotAccepted: nobody said yes; nothing was fetched.
        InsufficientSpace: known before the first byte.
        IntegrityError: no source has the pinned bytes.
        RemoteError: no source delivers.
    """
    config, manifest = item.model()
    entry = manifest.describe()
    terms = licensing.terms_of(item.reference.tagged, item)
    acceptance = licensing.obtain(store, entry, manifest, terms, ask)
    with store.writing():
        _require_space(store, item)

        def one(file: PinnedFile) -> str:
            return _bring(store, item, file, directories, token, progress)

        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            how = dict(zip([f.path for f in item.files], pool.map(one, item.files), strict=True))
        store.put_bytes(CONFIG_TYPE, config)
        store.put_bytes(MANIFEST_TYPE, manifest.to_bytes())
        store.tag(item.reference.tagged, entry)
        if acceptance:
            licensing.record(store, entry, manifest, acceptance)
    ways = [[path for path, way in how.items() if way == w] for w in ("net", "disk", "store")]
    return Fetched(item.reference.tagged, entry, *ways)


def _bring(
    store: LayoutStore,
    item: WeightSet,
    file: PinnedFile,
    directories: Sequence[Path],
    token: str | None,
    progress: Progress,
) -> str:
    if store.has(file.layer):
        return "store"
    for directory in directories:
        path = directory / file.path
        if path.is_file() and path.stat().st_size == file.size_bytes:
            try:
                with progress.task(file.path, file.size_bytes) as advance:
                    store.stage_file(file.layer, path, advance)()
                return "disk"
            except IntegrityError:
                progress.note(f"{path}: another file than the pinned one; fetching it")
    return _download(store, item, file, token, progress)


def _download(
    store: LayoutStore, item: WeightSet, file: PinnedFile, token: str | None, progress: Progress
) -> str:
    from xttsreg.ops import download
    from xttsreg.ops.urls import HUB_URL, apply_endpoint

    with store.resumable(file.layer) as writer:
        if writer is None:  # another process brought it while we waited
            return "store"
        urls = [apply_endpoint(url, os.environ) for url in item.urls(file.path)]
        with progress.task(file.path, file.size_bytes) as advance:
            advance(writer.offset_bytes)
            while True:
                resumed = writer.offset_bytes > 0
                remote = download.RemoteFile(
                    name=file.path,
                    size_bytes=file.size_bytes,
                    sha256_hex=file.sha256,
                    urls=urls,
                )
                delivered = download.download(
                    remote,
                    writer,
                    token=token,
                    token_urls=[apply_endpoint(HUB_URL, os.environ)],
                    advance=advance,
                )
                try:
                    writer.commit()
                    return "net"
                except IntegrityError as error:
                    # What we resumed from may be at fault, so the same source gets one more try.
                    urls = urls if resumed else urls[urls.index(delivered) + 1 :]
                    if not urls:
                        error.message = f"{file.path} from {delivered}: {error.message}"
                        raise
                    progress.note(f"{file.path}: wrong bytes from {delivered}; trying again")


def _require_space(store: LayoutStore, item: WeightSet) -> None:
    missing = [f for f in item.files if not store.blob_path(f.layer.digest).exists()]
    partial = sum(_partial_bytes(store, file) for file in missing)
    needed_bytes = sum(file.size_bytes for file in missing) - partial
    free_bytes = shutil.disk_usage(store.root).free
    if needed_bytes > free_bytes:
        raise InsufficientSpace(str(store.root), needed_bytes=needed_bytes, free_bytes=free_bytes)


def _partial_bytes(store: LayoutStore, file: PinnedFile) -> int:
    partial = store.partial_path(file.layer.digest)
    return partial.stat().st_size if partial.exists() else 0
