"""Other copies of what a store has: where it can be mended from, by digest.

A directory (a store, a stick, or any folder that has the files), a web address that serves a store
or a bundle as files, a repository of an OCI registry, or a set of the catalogue, which means its
pinned sources. None of them is believed: whoever takes bytes proves them.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from xttsreg.catalog import Catalog, WeightSet
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.manifest import Index
from xttsreg.content.reference import Reference
from xttsreg.content.stream import Advance
from xttsreg.errors import (
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    RemoteError,
    XttsregError,
)
from xttsreg.ops.parts import Joined
from xttsreg.remote.address import Address, looks_like_host
from xttsreg.remote.urls import HUB_URL, apply_endpoint
from xttsreg.stores.base import Sink
from xttsreg.stores.durable import disk_errors, give_way
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.names import LAYOUT_FILE

WAYS = (
    "give a store, a bundle, or a directory with the files; https://HOST/PATH of one; "
    "HOST/REPOSITORY of a registry; or NAME[:TAG] of the catalogue"
)


class Copy(Protocol):
    """A place that may have blobs."""

    def bring(self, store: LayoutStore, blob: Descriptor, advance: Advance) -> bool:
        """Put a blob into a store, proven. False if the right bytes are not here.

        Raises:
            RemoteError: the place cannot be reached.
            StoreError: the disk does not let us.
        """

    def names(self) -> Index | None:
        """The names that this place knows, if it is a store or a bundle."""


def open_copy(text: str, catalog: Catalog, token: str | None = None) -> Copy:
    """The place that somebody named.

    Args:
        text: What was written.
        catalog: For the names of sets.
        token: For the hub that such a set comes from.

    Raises:
        InvalidInputError: it is none of them; says what would be one.
    """
    if Path(text).is_dir():
        return DirectoryCopy(Path(text))
    if text.startswith(("https://", "http://")):
        return WebCopy(text)
    if looks_like_host(text.partition("/")[0]) and text.partition("/")[2]:
        with contextlib.suppress(InvalidInputError):
            return RegistryCopy(Address.parse(text))
    with contextlib.suppress(XttsregError):
        return PinnedCopy(catalog.get(Reference.parse(text)), token)
    raise InvalidInputError(f"{text}: no such directory, and nothing of the catalogue", hint=WAYS)


class DirectoryCopy:
    """A store, a stick, or any directory with the files, whatever they are called."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._by_size: dict[int, list[Path]] = {}
        if not (root / LAYOUT_FILE).is_file():
            with disk_errors(root):
                for path in root.rglob("*"):
                    status = path.lstat()
                    if stat.S_ISREG(status.st_mode):
                        self._by_size.setdefault(status.st_size, []).append(path)

    def bring(self, store: LayoutStore, blob: Descriptor, advance: Advance) -> bool:
        """See `Copy.bring`."""
        for path in self._candidates(blob):
            if path.resolve() == store.blob_path(blob.digest).resolve():
                continue
            if _take(store, blob, partial(store.stage_file, blob, path, advance)):
                return True
        parts = sorted((self._root / "parts" / "sha256").glob(f"{blob.digest.hex}.*"))
        return bool(parts) and _take(
            store, blob, partial(store.stage, blob, Joined(parts), advance)
        )

    def _candidates(self, blob: Descriptor) -> Iterator[Path]:
        path = self._root / "blobs" / "sha256" / blob.digest.hex
        if not path.is_symlink() and path.is_file():
            yield path
        yield from self._by_size.get(blob.size_bytes, [])

    def names(self) -> Index | None:
        """See `Copy.names`."""
        with contextlib.suppress(XttsregError):
            return LayoutStore.open_existing(self._root).index()
        return None


def _take(store: LayoutStore, blob: Descriptor, stage: Callable[[], Callable[[], None]]) -> bool:
    with contextlib.suppress(IntegrityError), store.writing():
        publish = stage()
        give_way(store.blob_path(blob.digest))
        publish()
        return True
    return False


class _Far:
    """A place beyond this machine; transfers that broke off are resumed."""

    def bring(self, store: LayoutStore, blob: Descriptor, advance: Advance) -> bool:
        """See `Copy.bring`."""
        if not self._may_have(blob):
            return False
        try:
            with store.resumable(blob) as writer:
                if writer is not None:
                    self._fill(blob, writer, advance)
                    give_way(store.blob_path(blob.digest))
                    writer.commit()
            return True
        except (IntegrityError, NotFoundError):
            return False
        except RemoteError as error:
            if error.status in (404, 410):
                return False
            raise

    def names(self) -> Index | None:
        """See `Copy.names`."""
        return None

    def _may_have(self, blob: Descriptor) -> bool:
        return True

    def _fill(self, blob: Descriptor, sink: Sink, advance: Advance) -> None:
        raise NotImplementedError


class WebCopy(_Far):
    """A store or a bundle that a web server shows as files."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def _fill(self, blob: Descriptor, sink: Sink, advance: Advance) -> None:
        _download(blob, [f"{self._url}/blobs/sha256/{blob.digest.hex}"], sink, advance)


class PinnedCopy(_Far):
    """The sources of a catalogued set; its manifest and configuration follow from the pins."""

    def __init__(self, item: WeightSet, token: str | None) -> None:
        config, manifest = item.model()
        made = {manifest.config.digest: config, manifest.describe().digest: manifest.to_bytes()}
        self._made: Mapping[str, bytes] = {str(digest): data for digest, data in made.items()}
        self._urls = {str(file.layer.digest): item.urls(file.path) for file in item.files}
        self._token = token

    def _may_have(self, blob: Descriptor) -> bool:
        return blob.digest in self._made or blob.digest in self._urls

    def _fill(self, blob: Descriptor, sink: Sink, advance: Advance) -> None:
        if blob.digest in self._made:
            sink.restart()
            sink.write(self._made[blob.digest])
            return
        urls = [apply_endpoint(url, os.environ) for url in self._urls[blob.digest]]
        _download(blob, urls, sink, advance, token=self._token)


class RegistryCopy(_Far):
    """A repository of an OCI registry."""

    def __init__(self, address: Address) -> None:
        from xttsreg.remote.registry import RegistryStore

        self._registry = RegistryStore(address)

    def _fill(self, blob: Descriptor, sink: Sink, advance: Advance) -> None:
        self._registry.fill(blob, sink, sleep=time.sleep, advance=advance)


def _download(
    blob: Descriptor, urls: Sequence[str], sink: Sink, advance: Advance, token: str | None = None
) -> None:
    from xttsreg.remote.download import RemoteFile, download
    from xttsreg.remote.transport import Bearer

    file = RemoteFile(
        name=f"blob {blob.digest.short}", size_bytes=blob.size_bytes,
        sha256_hex=blob.digest.hex, urls=urls,
    )  # fmt: skip
    auth = Bearer(token) if token else None
    download(file, sink, auth=auth, auth_urls=[apply_endpoint(HUB_URL, os.environ)],
             advance=advance)  # fmt: skip
