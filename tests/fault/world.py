"""The directory that a fault happens in: a store, and what lies around it.

A world is made once per operation, as a template, and copied to one fixed place for every fault,
so that command lines and the order of system calls repeat.
"""

from __future__ import annotations

import contextlib
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from support import tree

from xttsreg.content.digest import Digest
from xttsreg.content.inventory import Inventory
from xttsreg.content.manifest import MANIFEST_TYPE, Manifest
from xttsreg.errors import IntegrityError, InvalidManifest, XttsregError
from xttsreg.ops.reading import read_volume
from xttsreg.ops.verify import verify
from xttsreg.stores.base import reachable
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.names import STATE_DIRECTORY

_RECORDS = (
    "verified/",
    "bundles/",
    "pushed/",
    "received.json",
)  # records that outlive an operation
_DATED = (
    "bundle.json",
    "SHA256SUMS",
    "inventory.json",
    "stick.tar",
)  # have an id and a time in them


@dataclass(frozen=True, slots=True)
class World:
    """One directory, with everything that an operation may change below it."""

    root: Path

    @property
    def home(self) -> Path:
        """XTTSREG_HOME."""
        return self.root / "home"

    @property
    def store(self) -> Path:
        """Where the store is, or will be."""
        return self.home / "store"

    @property
    def out(self) -> Path:
        """What an operation writes beside the store: a checkout, a stick."""
        return self.root / "out"

    def layout(self) -> LayoutStore | None:
        """The store, opened anew; None if there is none yet."""
        if not (self.store / "oci-layout").exists():
            return None
        return LayoutStore.open_existing(self.store)

    def reset(self, template: Path) -> None:
        """Make it like the template again."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(template, self.root, symlinks=True)

    def tags(self) -> dict[str, str]:
        """``name:tag`` to digest; none if the index cannot be read."""
        store = self.layout()
        if store is None:
            return {}
        with contextlib.suppress(IntegrityError, InvalidManifest):
            return {t: str(e.digest) for t, e in store.tags().items()}
        return {}


def problems(store: LayoutStore) -> list[str]:
    """What is wrong with a store, every byte read: empty if it is a valid layout, and whole."""
    try:
        found = verify(store, store.entries(), use_cache=False).problems
    except XttsregError as error:
        return [error.message]
    return [f"{p.reason} {p.what} of {', '.join(p.refs)}" for p in found]


def litter(store: LayoutStore) -> list[str]:
    """What `gc` should have removed: blobs that nothing needs, files that nobody uses."""
    needed: set[Digest] = set()
    for entry in store.entries():
        needed |= reachable(store, entry).keys()
    found = [f"blob {d.short}" for d in store.blob_digests() if d not in needed]
    kept = {"lock", "names", "listing", *(f"verified/{d.hex}" for d in needed)}
    for path in store.state.rglob("*"):
        relative = path.relative_to(store.state).as_posix()
        record = relative.startswith(_RECORDS) and not relative.endswith(".tmp")
        if path.is_file() and relative not in kept and not record:
            found.append(relative)
        elif path.is_dir() and path.parent.name in ("tmp", "leases", "partial"):
            found.append(relative + "/")
    known = {"oci-layout", "index.json", "blobs", STATE_DIRECTORY}
    return found + [path.name for path in store.root.iterdir() if path.name not in known]


def listing(world: World) -> Mapping[str, str]:
    """Every file with its digest, outside our state; acceptances, which have a time, as one."""
    store = world.layout()
    files = {name: digest for name, digest in tree(world.root).items() if _counts(name)}
    for name in [name for name in files if name.rpartition("/")[2] in _DATED]:
        del files[name]
        if name.endswith("SHA256SUMS"):
            files[name] = _bundle_problem((world.root / name).parent)
        elif name.endswith("inventory.json"):
            inventory = Inventory.parse((world.root / name).read_bytes())
            files[name] = f"an inventory of {sorted(inventory.blobs.items())}"
        elif name.endswith("stick.tar"):
            with tarfile.open(world.root / name) as tar:
                files[name] = f"an archive of {[info.name for info in tar][2:]}"
    if store is None:
        return files
    for entry in store.entries():
        if entry.media_type != MANIFEST_TYPE:
            continue
        if Manifest.parse(store.blob_path(entry.digest).read_bytes()).subject:
            files.pop(f"home/store/blobs/sha256/{entry.digest.hex}", None)
    files.pop("home/store/index.json", None)  # compared by `World.tags`
    return files


def _bundle_problem(directory: Path) -> str:
    """What is wrong with a bundle; blobs are compared by their digests, with the other files."""
    try:
        read_volume(directory, check=lambda *_: None)
    except XttsregError as error:
        return error.message
    return "a bundle"


def _counts(name: str) -> bool:
    return f"/{STATE_DIRECTORY}/" not in f"/{name}"
