"""Store to registry and back: `copy` with a registry at one end."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xttsreg.catalog import Catalog
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import INDEX_TYPE, MANIFEST_TYPE
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidReference
from xttsreg.ops import globals, licensing
from xttsreg.ops.copy import Copied, Selection, copy, select
from xttsreg.ops.naming import require_same_names
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.remote.address import Address
from xttsreg.remote.connection import Options
from xttsreg.remote.registry import RegistryStore
from xttsreg.stores import durable
from xttsreg.stores.base import resolve
from xttsreg.stores.layout import LayoutStore

_MANIFESTS = (MANIFEST_TYPE, INDEX_TYPE)


@dataclass(frozen=True, slots=True)
class Transferred:
    """What a push or a pull did.

    Attributes:
        address: Where it is in the registry, pinned.
        tagged: Its name in the store.
        manifest: What it is.
        copied: What was sent or brought, and what was there already.
    """

    address: Address
    tagged: str
    manifest: Descriptor
    copied: Copied


def push(
    store: LayoutStore,
    reference: Reference,
    address: Address,
    *,
    options: Options | None = None,
    progress: Progress = QUIET,
) -> Transferred:
    """Copy a set or voice, and who accepted its terms, into a registry. The tag comes last.

    Raises:
        TagNotFound: no such reference in the store.
        InvalidReference: the address is pinned to a digest.
        IntegrityError: a blob of the store is damaged, or arrived damaged.
        RemoteError: the registry refuses, or cannot be reached.
    """
    if address.reference.digest:
        raise InvalidReference(f"{address}: a push sets a tag, and cannot choose a digest")
    entry = resolve(store, reference)
    selection = select(store, {address.reference.tagged: entry.with_ref(None)})
    known = _Known(store, address.host)
    registry = RegistryStore(address, options, writable=True, elsewhere=known.find)
    with store.reading():
        copied = copy(store, registry, selection, progress=progress)
    known.learn(selection, address.reference.name)
    return Transferred(address.at(entry.digest), reference.tagged, entry, copied)


def pull(
    store: LayoutStore,
    address: Address,
    *,
    name: Reference | None = None,
    force: bool = False,
    allow_globals: Collection[str] = (),
    catalog: Catalog,
    ask: licensing.Ask,
    options: Options | None = None,
    progress: Progress = QUIET,
) -> Transferred:
    """Copy a set or voice from a registry into the store.

    The tag is looked up once; all the rest is by digest, so a tag that moves meanwhile changes
    nothing. What an interrupted pull brought is kept.

    Args:
        store: Where to.
        address: What to bring.
        name: What it is called here; by default as in the registry, without the host.
        force: A name that means something else here is moved.
        allow_globals: What pickles may name besides what XTTS's own do; noted beside the set.
        catalog: For the text of the terms.
        ask: Gets a yes to the terms, unless one comes along or is here.
        options: How the registry is spoken to.
        progress: Watches.

    Raises:
        AlreadyExists: the name means something else here.
        LicenseNotAccepted: nobody said yes to the terms.
        TagNotFound: not in the registry.
        IntegrityError: the registry sends other bytes than it should.
        UnsafePickle: a checkpoint asks for code that is not on the allowlist; no name appears.
        RemoteError: the registry refuses, or cannot be reached.
    """
    registry = RegistryStore(address, options)
    entry = registry.resolve(address.identifier)
    local = (name or address.reference).tagged
    selection = select(registry, {local: entry})
    if not force:
        require_same_names(store, selection.tags, "the registry")
    manifest = selection.manifests[entry.digest]
    terms = licensing.terms_for(local, manifest, catalog)
    acceptance = None
    if licensing.find_acceptance(registry, entry, manifest) is None:
        acceptance = licensing.obtain(store, entry, manifest, terms, ask)
    with store.writing():
        copied = copy(registry, store, selection, names=False, progress=progress)
        globals.name_checked(store, selection, allow_globals)
        if acceptance:
            licensing.record(store, entry, manifest, acceptance)
    return Transferred(address.at(entry.digest), local, entry, copied)


def relay(
    source: Address,
    target: Address,
    *,
    options: Options | None = None,
    progress: Progress = QUIET,
) -> Transferred:
    """Copy from one registry to another; the store has no part in it.

    What the target lacks comes to this machine first, below the temporary directory, where it can
    be gone on with and is proven, and goes from there. Within one registry it is mounted instead.

    Raises:
        TagNotFound: not in the source.
        InvalidReference: the target is pinned to a digest.
        InsufficientSpace, ReadOnlyMedia: the temporary directory cannot hold it.
        IntegrityError, RemoteError: as `push` and `pull`.
    """
    if target.reference.digest:
        raise InvalidReference(f"{target}: a copy sets a tag, and cannot choose a digest")
    origin = RegistryStore(source, options)
    entry = origin.resolve(source.identifier)
    selection = select(origin, {target.reference.tagged: entry})
    mount = source.reference.name if source.host == target.host else None
    goal = RegistryStore(target, options, writable=True, elsewhere=lambda _: mount)
    blobs = [blob for blob in selection.blobs() if blob.media_type not in _MANIFESTS]
    there = {blob.digest for blob in blobs if goal.has(blob) or (mount and goal.mount(blob))}
    with tempfile.TemporaryDirectory(prefix="xttsreg-copy-") as scratch:
        between = LayoutStore.create(Path(scratch))
        copy(origin, between, selection, elsewhere=there, names=False, progress=progress)
        copied = copy(between, goal, selection, progress=progress)
    return Transferred(target.at(entry.digest), str(source), entry, copied)


class _Known:
    """Which repository of a registry has a blob, as far as this store pushed it there.

    A hint, for mounting instead of sending; what is wrong or lost costs a transfer, no more.
    """

    def __init__(self, store: LayoutStore, host: str) -> None:
        self._path: Path = store.state / "pushed" / f"{Digest.of(host.encode()).hex}.json"
        self._repositories: Mapping[str, str] = {}
        with suppress(OSError, ValueError, AttributeError):
            value = json.loads(self._path.read_text("utf-8"))
            self._repositories = {str(key): str(repo) for key, repo in value.items()}

    def find(self, digest: Digest) -> str | None:
        return self._repositories.get(digest)

    def learn(self, selection: Selection, repository: str) -> None:
        grown = dict(self._repositories)
        grown.update((str(blob.digest), repository) for blob in selection.blobs())
        if grown == self._repositories:
            return
        with suppress(OSError):
            durable.make_directory(self._path.parent)
            data = json.dumps(grown, indent=0, sort_keys=True).encode()
            durable.write_atomic(self._path, data, temporary=self._path.with_suffix(".tmp"))
