"""Catalogue to store: every byte checked against its pin, nothing fetched twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xttsreg.catalog import PinnedFile, WeightSet
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.manifest import MANIFEST_TYPE
from xttsreg.content.modelpack import CONFIG_TYPE
from xttsreg.content.stream import Advance
from xttsreg.errors import InsufficientSpace, IntegrityError
from xttsreg.ops import licensing
from xttsreg.ops.parallel import Cancel, in_parallel
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.remote.urls import HUB_URL, apply_endpoint, redact
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.writer import BlobWriter

FILES_AT_ONCE = 4

Way = Literal["net", "disk", "store"]
_WAYS: tuple[Way, ...] = ("net", "disk", "store")


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

        job = _Job(store, item, directories, token, progress)
        ways = in_parallel(job.bring, item.files, threads=FILES_AT_ONCE)
        store.put_bytes(CONFIG_TYPE, config)
        store.put_bytes(MANIFEST_TYPE, manifest.to_bytes())
        store.tag(item.reference.tagged, entry)
        if acceptance:
            licensing.record(store, entry, manifest, acceptance)
    paths = {way: [f.path for f, w in zip(item.files, ways, strict=True) if w == way]
             for way in _WAYS}  # fmt: skip
    return Fetched(item.reference.tagged, entry, *(paths[way] for way in _WAYS))


@dataclass(frozen=True, slots=True)
class _Job:
    """What all files of one fetch have in common."""

    store: LayoutStore
    item: WeightSet
    directories: Sequence[Path]
    token: str | None
    progress: Progress

    def bring(self, file: PinnedFile, cancel: Cancel) -> Way:
        """Get one file, the cheapest way there is."""
        if self.store.has(file.layer):
            return "store"
        for directory in self.directories:
            if self._take(directory / file.path, file, cancel):
                return "disk"
        return self._download(file, cancel)

    def _take(self, path: Path, file: PinnedFile, cancel: Cancel) -> bool:
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            return False
        try:
            with self.progress.task(file.path, file.size_bytes) as advance:
                self.store.stage_file(file.layer, path, cancel.watch(advance))()
        except IntegrityError:
            self.progress.note(f"{path}: another file than the pinned one; fetching it")
            return False
        return True

    def _download(self, file: PinnedFile, cancel: Cancel) -> Way:
        with self.store.resumable(file.layer) as writer:
            if writer is None:  # another process brought it while we waited
                return "store"
            urls = [apply_endpoint(url, os.environ) for url in self.item.urls(file.path)]
            with self.progress.task(file.path, file.size_bytes) as advance:
                advance(writer.offset_bytes)
                while urls:
                    urls = self._try(file, writer, urls, cancel, advance)
        return "net"

    def _try(
        self,
        file: PinnedFile,
        writer: BlobWriter,
        urls: list[str],
        cancel: Cancel,
        advance: Advance,
    ) -> list[str]:
        """Fill the writer and commit it; the URLs that are left to try if it was wrong."""
        from xttsreg.remote import download
        from xttsreg.remote.transport import Bearer

        resumed_bytes = writer.offset_bytes
        remote = download.RemoteFile(
            name=file.path, size_bytes=file.size_bytes, sha256_hex=file.sha256, urls=urls
        )
        delivered = download.download(
            remote,
            writer,
            auth=Bearer(self.token) if self.token else None,
            auth_urls=[apply_endpoint(HUB_URL, os.environ)],
            sleep=cancel.sleep,
            advance=cancel.watch(advance),
        )
        try:
            writer.commit()
            return []
        except IntegrityError as error:
            # What we resumed from may be at fault, so the same sources get one more chance.
            rest = urls if resumed_bytes else urls[urls.index(delivered) + 1 :]
            if not rest:
                error.message = f"{file.path} from {redact(delivered)}: {error.message}"
                raise
            advance(-file.size_bytes)
            self.progress.note(f"{file.path}: wrong bytes; fetching it again")
            return rest


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
