"""Sticks to store: check everything, read each byte once, then take all of it or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from xttsreg.content.bundle import Bundle, blob_path
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Index
from xttsreg.errors import (
    BlobNotFound,
    BundleMismatch,
    DigestMismatch,
    InsufficientSpace,
    IntegrityError,
)
from xttsreg.ops import globals
from xttsreg.ops.arriving import arrival
from xttsreg.ops.copy import Copied, Selection, copy, select
from xttsreg.ops.diagnosis import diagnose
from xttsreg.ops.gate import CAREFUL, Gate, Policy, require_one_signer
from xttsreg.ops.medium import free_bytes
from xttsreg.ops.naming import require_same_names
from xttsreg.ops.parts import Joined
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.ops.reading import AGAIN, Volume, read_volume
from xttsreg.ops.thin import require_present
from xttsreg.ops.trust import Origin
from xttsreg.stores.base import Store
from xttsreg.stores.durable import existing_parent
from xttsreg.stores.layout import LayoutStore


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        bundle: The bundle's listing.
        copied: What was new, and what the store had already.
        origin: Who signed it.
        missing: Volumes that have yet to come; until then the bundle's names are not there.
    """

    bundle: Bundle
    copied: Copied
    origin: Origin
    missing: Sequence[int] = ()


class _Stick(LayoutStore):
    """A volume as a store to copy from; its index is the one that was proven."""

    def __init__(self, volume: Volume) -> None:
        super().__init__(volume.directory)
        self._volume = volume
        here = volume.bundle.volume_files(volume.number)
        self._joined = {split.digest: [volume.directory / path for path in split.paths]
                        for split in volume.bundle.parts
                        if here.keys() >= set(split.paths)}  # fmt: skip
        self.complete = {file.digest for path, file in here.items()
                         if path == blob_path(file.digest)} | self._joined.keys()  # fmt: skip

    def index(self) -> Index:
        """See `LayoutStore.index`."""
        return self._volume.index

    def open(self, blob: Descriptor) -> BinaryIO:
        """See `LayoutStore.open`; parts come as the whole."""
        if blob.digest in self._joined:
            return cast(BinaryIO, Joined(self._joined[blob.digest]))
        return super().open(blob)

    def explain(self, blob: Descriptor, error: IntegrityError, label: str) -> str:
        """What to do about a blob that is not right; reads it once more."""
        if blob.digest in self._joined:
            listed = {file.path: file.digest for file in self._volume.bundle.files}
            parts = [(path, listed[path.relative_to(self.root).as_posix()])
                     for path in self._joined[blob.digest]]  # fmt: skip
            return diagnose(parts, None)
        first = Digest(error.actual) if isinstance(error, DigestMismatch) else None
        return diagnose([(self.blob_path(blob.digest), blob.digest)], first, label=label)

    def file_of(self, blob: Descriptor) -> Path | None:
        """See `LayoutStore.file_of`."""
        return None if blob.digest in self._joined else super().file_of(blob)


def import_bundle(
    directory: Path,
    store: LayoutStore,
    *,
    policy: Policy = CAREFUL,
    progress: Progress = QUIET,
) -> Imported:
    """Take a bundle in, or one volume of it.

    Names, sizes and the small files are checked first; the blobs are hashed while they are copied
    (or linked), and get their names in the store only when all of them are right.

    Args:
        directory: The bundle, or a volume.
        store: Where to.
        policy: What may come in.
        progress: Watches.

    Raises:
        InvalidInputError: no bundle, or malformed.
        NewerFormat: written by a later version.
        AlreadyExists: a name means something else in the store.
        IntegrityError: a file is missing, too many, of another size, or has other bytes; names it.
            The store is as it was.
        SignatureMissing, SignatureInvalid, OlderBundle: it is not from whom it should be.
        UnsafePickle: a checkpoint asks for code that is not on the allowlist.
        BaseMissing: what a thin bundle builds on is not in the store.
        InsufficientSpace: known before the first byte.
    """
    return import_volumes([directory], store, policy=policy, progress=progress)


def import_volumes(
    directories: Sequence[Path],
    store: LayoutStore,
    *,
    policy: Policy = CAREFUL,
    progress: Progress = QUIET,
) -> Imported:
    """`import_bundle` for several volumes of one bundle, in any order.

    Each volume is taken in all or not at all; what came before one that is damaged stays.

    Raises:
        BundleMismatch: they belong to different bundles; nothing was taken.
        XttsregError: as `import_bundle`.
    """
    gates = [Gate(policy) for _ in directories]
    pairs = list(zip(directories, gates, strict=True))
    volumes = [read_volume(directory, check=gate.check) for directory, gate in pairs]
    for volume, gate in zip(volumes, gates, strict=True):
        if volume.listing != volumes[0].listing:
            raise BundleMismatch(
                f"{volume.directory}: belongs to another bundle than {volumes[0].directory}",
                hint="nothing was imported; import each bundle by itself",
            )
        gate.admit(store, volume.bundle)
    require_one_signer(
        {volume.number: gate.origin for volume, gate in zip(volumes, gates, strict=True)}
    )
    done = [
        _take(volume, store, gate, progress) for volume, gate in zip(volumes, gates, strict=True)
    ]
    copied = Copied(
        sum(one.copied.blobs for one in done),
        sum(one.copied.size_bytes for one in done),
        sum(one.copied.skipped_bytes for one in done),
    )
    return Imported(volumes[0].bundle, copied, done[-1].origin, done[-1].missing)


def _take(volume: Volume, store: LayoutStore, gate: Gate, progress: Progress) -> Imported:
    bundle, source = volume.bundle, _Stick(volume)
    selection = select_bundle(source, bundle)
    if not gate.policy.force:
        require_same_names(store, selection.tags, "the bundle")
    require_present(store, bundle, progress=progress)
    _require_space(source, store, selection)
    with store.writing():
        require_present(store, bundle)  # again: from here on `gc` waits
        if bundle.volumes == 1:
            copied = _copy(source, store, selection, progress)
            name_checked(store, gate, bundle, selection)
            return Imported(bundle, copied, gate.origin)
        with arrival(store, volume) as arriving:
            arriving.note_origin(volume.number, gate.origin)  # before anything of it counts
            arriving.take_parts(volume, progress)
            copied = _copy(source, store, selection, progress)
            arriving.note_parts(volume)
            arriving.join(progress)
            missing = arriving.missing()
            if not missing:
                require_one_signer(arriving.origins())
                name_checked(store, gate, bundle, selection)
                arriving.close()
    return Imported(bundle, copied, gate.origin, missing)


def name_checked(store: LayoutStore, gate: Gate, bundle: Bundle, selection: Selection) -> None:
    """`globals.name_checked`; the bundle counts as received from then on."""
    allow = gate.policy.allow_globals
    globals.name_checked(store, selection, allow, before=lambda: gate.record(store, bundle))


def _copy(source: _Stick, store: LayoutStore, selection: Selection, progress: Progress) -> Copied:
    """Take in what is complete on this volume, still without a name."""
    return copy(
        source,
        store,
        selection,
        elsewhere={b.digest for b in selection.blobs() if b.digest not in source.complete},
        take_over=True,
        prove_source=True,
        names=False,
        explain=source.explain,
        progress=progress,
    )


def _require_space(source: _Stick, store: LayoutStore, selection: Selection) -> None:
    """Room for what is new; not asked where files are linked instead of copied.

    Raises:
        InsufficientSpace: there is not enough.
    """
    if existing_parent(store.root).stat().st_dev == source.root.stat().st_dev:
        return
    needed_bytes = sum(
        blob.size_bytes
        for blob in selection.blobs()
        if blob.digest in source.complete and not store.blob_path(blob.digest).exists()
    )
    free = free_bytes(store.root)
    if needed_bytes > free:
        raise InsufficientSpace(str(store.root), needed_bytes=needed_bytes, free_bytes=free)


def select_bundle(source: Store, bundle: Bundle) -> Selection:
    """What the bundle brings; its index, its listing and its blobs must agree.

    Raises:
        BundleMismatch: they do not.
    """
    try:
        selection = select(source, source.tags())
    except (BlobNotFound, IntegrityError) as error:
        raise BundleMismatch(error.message, hint=AGAIN) from None
    needed = {blob.digest: blob.size_bytes for blob in selection.blobs()}
    listed = bundle.carried() | {r.digest: r.size_bytes for r in bundle.requires}
    for digest in dict(needed.items() ^ listed.items()):
        word = "is not what the listing says" if digest in needed else "belongs to nothing"
        raise BundleMismatch(f"{blob_path(Digest(digest))}: {word}", hint=AGAIN)
    return selection
