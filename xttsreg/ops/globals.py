"""What the pickles of a weight set may name: an allowlist, on the way into the store.

A ``.pth`` file is a program that stock TTS runs when it loads it. So every one that comes in has
its pickle taken apart, without running anything, and held against what XTTS's own files name.
Whoever wants more says so by name, and that is recorded beside the set.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from xttsreg.content.artifacts import kind_of
from xttsreg.content.checkpoint import summarize
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.manifest import Manifest
from xttsreg.errors import IntegrityError, UnsafePickle
from xttsreg.ops.copy import Selection
from xttsreg.ops.copy import name as give_names
from xttsreg.ops.licensing import current_user
from xttsreg.ops.notes import hold_note
from xttsreg.stores.base import Store
from xttsreg.stores.durable import disk_errors
from xttsreg.stores.layout import LayoutStore

ALLOWANCE_TYPE = "application/vnd.xttsreg.globals.allowance.v1+json"
_NAMES = "io.xttsreg.globals.allowed"
_BY = "io.xttsreg.globals.allowed-by"
_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".pkl", ".pickle")
_HEADS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_NEVER_LOADED = ("dataset", "environment")
"""Kinds whose files no trainer unpickles: `train` takes them as clips and wheels, or not at all."""
_NEVER_PICKLES = (".zip", ".whl", ".npz", ".tar")


def check_files(files: Iterable[tuple[str, Path]], allowed: Collection[str] = ()) -> frozenset[str]:
    """Make sure that the checkpoints among these files name nothing foreign.

    Args:
        files: The name of each, and where its bytes are.
        allowed: What may be named besides what XTTS's own files do, dotted.

    Returns:
        Those of ``allowed`` that were needed.

    Raises:
        IntegrityError: a checkpoint cannot be read to its end, so nobody knows what it names.
        UnsafePickle: one names something else.
    """
    used: set[str] = set()
    for name, path in files:
        with disk_errors(path):
            if not _may_be_pickle(name, path):
                continue
            summary = summarize(path)
        foreign = summary.foreign_globals - frozenset(allowed)
        if foreign:
            first = sorted(foreign)[0]
            raise UnsafePickle(
                f"{name}: its pickle asks for {', '.join(sorted(foreign)[:5])}; loading it can "
                "run code",
                hint="ask whoever made it for tensors only; if you know that this is harmless, "
                f"repeat with --allow-globals {first}",
            )
        if summary.kind == "not_a_checkpoint":
            raise IntegrityError(
                f"{name}: {summary.problem}",
                hint="nothing was taken in; bring the file again from its source",
            )
        used |= summary.foreign_globals
    return frozenset(used)


def check_manifest(
    manifest: Manifest, where: Callable[[Descriptor], Path], allowed: Collection[str] = ()
) -> frozenset[str]:
    """`check_files` for those files of a manifest whose blobs are there."""
    named = ((name, where(layer)) for name, layer in manifest.files().items())
    return check_files([(name, path) for name, path in named if path.is_file()], allowed)


def record(store: Store, entry: Descriptor, names: Collection[str]) -> None:
    """Write down, beside a set, what somebody allowed its pickles to name. Grants nothing."""
    if not names:
        return
    told = {_NAMES: ", ".join(sorted(names)), _BY: current_user()}
    hold_note(store, entry, ALLOWANCE_TYPE, told)


def name_checked(
    store: LayoutStore,
    selection: Selection,
    allowed: Collection[str] = (),
    *,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Give what a copy brought its names, once its pickles have been read. Within `writing`.

    They are read in the store, where no medium can give other bytes than before any more.

    Args:
        store: Has the blobs.
        selection: What was copied, without names yet.
        allowed: As `check_files`.
        before: Called when all is right, before the first name appears.

    Raises:
        IntegrityError, UnsafePickle: as `check_files`; no name was given.
    """
    noted: list[tuple[Descriptor, frozenset[str]]] = []
    for entry in selection.tags.values():
        manifest = selection.manifests[entry.digest]
        if kind_of(manifest) in _NEVER_LOADED:
            continue
        used = check_manifest(manifest, lambda b: store.blob_path(b.digest), allowed)
        noted.append((entry, used))
    before()
    give_names(store, selection)
    for entry, used in noted:
        record(store, entry, used)


def _may_be_pickle(name: str, path: Path) -> bool:
    lowered = name.lower()
    if lowered.endswith(_SUFFIXES):
        return True
    if lowered.endswith(_NEVER_PICKLES):
        return False
    with path.open("rb") as file:  # a name is a claim; what torch would load begins like this
        return file.read(4).startswith(_HEADS)
