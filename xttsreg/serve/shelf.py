"""What is on offer: the store's names and manifests, as repositories with revisions.

A repository is the part of a tag before the colon; its revisions are the tags, the digest of each
manifest, and a commit of 40 hex digits. What the catalogue pins keeps the commit of its source,
and is found under its name on the hub as well, so that code written for the hub finds it.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import Kind, kind_of
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.hub import commit_id
from xttsreg.content.manifest import MANIFEST_TYPE, Manifest
from xttsreg.errors import XttsregError
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore

_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_ON_THE_HUB = re.compile(r"https://huggingface\.co/([^/{}]+/[^/{}]+)/resolve/\{revision\}/\{path\}")


@dataclass(frozen=True, slots=True)
class Item:
    """One named manifest.

    Attributes:
        repo: The part of its tag before the colon.
        tag: The part behind it.
        entry: Descriptor of the manifest.
        manifest: Read and proven.
        commit: 40 hex digits.
        kind: What it is.
    """

    repo: str
    tag: str
    entry: Descriptor
    manifest: Manifest
    commit: str
    kind: Kind

    @property
    def tagged(self) -> str:
        """``name:tag``."""
        return f"{self.repo}:{self.tag}"

    @property
    def files(self) -> Mapping[str, Descriptor]:
        """File name to layer."""
        return self.manifest.files()


@dataclass(slots=True)
class Snapshot:
    """The store at one moment.

    Attributes:
        items: By ``name:tag``, sorted.
        repos: Repository to tag to item; names on the hub included.
        names: Manifest digest to its items: one manifest may have several names.
        unreadable: Tags whose manifest cannot be read, and why.
        referrers: Manifests that speak about another one, by that one's digest.
    """

    items: dict[str, Item] = field(default_factory=dict)
    repos: dict[str, dict[str, Item]] = field(default_factory=dict)
    names: dict[Digest, list[Item]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    referrers: dict[Digest, list[tuple[Descriptor, Manifest]]] = field(default_factory=dict)

    def find(self, repo: str, revision: str) -> Item | None:
        """The item of a repository that a revision means: a tag, a commit or a digest."""
        known = self.repos.get(repo, {})
        if revision in known:
            return known[revision]
        for item in known.values():
            if revision in (item.commit, item.entry.digest, f"refs/heads/{item.tag}"):
                return item
        return None

    def blobs(self) -> Iterator[Descriptor]:
        """Every blob that some name needs, largest first."""
        unique = {b.digest: b for item in self.items.values() for b in item.manifest.blobs()}
        yield from sorted(unique.values(), key=lambda blob: -blob.size_bytes)


class Shelf:
    """Gives the `Snapshot` of now; reads the store again when its index has changed.

    Args:
        store: Whose.
        catalog: Names on the hub come from here alone: a manifest may claim any origin.
    """

    def __init__(self, store: LayoutStore, catalog: Catalog) -> None:
        self._store = store
        self._manifests: dict[Digest, Manifest] = {}
        self._upstream = _upstream(catalog)
        self._lock = threading.Lock()
        self._seen: object = object()
        self._snapshot = Snapshot()

    async def look(self) -> Snapshot:
        """The store now. Reads in another thread if something has changed, else asks one stat."""
        if self._state() == self._seen:
            return self._snapshot
        return await asyncio.to_thread(self._look)

    def _look(self) -> Snapshot:
        with self._lock:
            state = self._state()
            if state != self._seen:
                self._snapshot = self._read()
                self._seen = state
            return self._snapshot

    def _state(self) -> object:
        try:
            status = (self._store.root / "index.json").stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size

    def _read(self) -> Snapshot:
        found, known = Snapshot(), self._manifests
        self._manifests = {}
        tags = self._store.tags()
        for tagged, entry in tags.items():
            repo, _, tag = tagged.rpartition(":")
            if entry.media_type != MANIFEST_TYPE or not repo:
                continue
            try:
                manifest = self._manifest(entry, known)
                manifest.files()
            except XttsregError as error:
                found.unreadable[tagged] = error.message
                continue
            hub_id, commit = self._upstream.get(entry.digest, ("", commit_id(entry.digest)))
            item = Item(repo, tag, entry, manifest, commit, kind_of(manifest))
            found.items[tagged] = item
            found.names.setdefault(entry.digest, []).append(item)
            for name in {repo, hub_id} - {""}:
                found.repos.setdefault(name, {}).setdefault(tag, item)
        named = {entry.digest for entry in tags.values()}
        for entry in self._store.entries():
            self._take_referrer(found, entry, named, known)
        return found

    def _take_referrer(
        self,
        found: Snapshot,
        entry: Descriptor,
        named: set[Digest],
        known: Mapping[Digest, Manifest],
    ) -> None:
        if entry.digest in named or entry.media_type != MANIFEST_TYPE:
            return
        try:
            manifest = self._manifest(entry, known)
        except XttsregError:
            return  # what cannot be read speaks about nothing; `verify` names it
        if manifest.subject:
            found.referrers.setdefault(manifest.subject.digest, []).append((entry, manifest))

    def _manifest(self, entry: Descriptor, known: Mapping[Digest, Manifest]) -> Manifest:
        manifest = known.get(entry.digest) or read_manifest(self._store, entry)
        self._manifests[entry.digest] = manifest
        return manifest


def _upstream(catalog: Catalog) -> dict[Digest, tuple[str, str]]:
    """Manifest digest to name and commit on the hub, for what the catalogue pins from there."""
    found = {}
    for item in catalog.sets().values():
        for source in item.sources:
            match = _ON_THE_HUB.fullmatch(source)
            if match and _COMMIT.fullmatch(item.revision):
                found[item.model()[1].describe().digest] = (match.group(1), item.revision)
    return found
