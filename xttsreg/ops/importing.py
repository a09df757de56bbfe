"""Stick to store: check everything, read each byte once, then take all of it or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xttsreg.content.bundle import Bundle, blob_path
from xttsreg.content.manifest import Index
from xttsreg.errors import AlreadyExists, BlobNotFound, BundleMismatch, IntegrityError
from xttsreg.ops.copy import Copied, Selection, copy, select
from xttsreg.ops.gate import Gate
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.ops.reading import AGAIN, Volume, read_volume
from xttsreg.ops.thin import require_present
from xttsreg.ops.trust import Origin, Trust
from xttsreg.stores.layout import LayoutStore

_ANYBODY = Trust()


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        bundle: The bundle's listing.
        copied: What was new, and what the store had already.
        origin: Who signed it.
    """

    bundle: Bundle
    copied: Copied
    origin: Origin


class _Stick(LayoutStore):
    """A volume as a store to copy from; its index is the one that was proven."""

    def __init__(self, volume: Volume) -> None:
        super().__init__(volume.directory)
        self._volume = volume

    def index(self) -> Index:
        """See `LayoutStore.index`."""
        return self._volume.index


def import_bundle(
    directory: Path,
    store: LayoutStore,
    *,
    force: bool = False,
    trust: Trust = _ANYBODY,
    allow_older: bool = False,
    progress: Progress = QUIET,
) -> Imported:
    """Take a bundle in.

    Names, sizes and the small files are checked first; the blobs are hashed while they are copied
    (or linked), and get their names in the store only when all of them are right.

    Args:
        directory: The bundle.
        store: Where to.
        force: Names that the store uses for something else are moved.
        trust: Whose signatures count.
        allow_older: Take a bundle that is older than one that came from the same signer before.
        progress: Watches.

    Raises:
        InvalidInputError: no bundle, or malformed.
        NewerFormat: written by a later version.
        AlreadyExists: a name means something else in the store.
        IntegrityError: a file is missing, too many, of another size, or has other bytes; names it.
            The store is as it was.
        SignatureMissing, SignatureInvalid, OlderBundle: it is not from whom it should be.
        BaseMissing: what a thin bundle builds on is not in the store.
    """
    gate = Gate(trust=trust, allow_older=allow_older)
    volume = read_volume(directory, check=gate.check)
    gate.admit(store, volume.bundle)
    source = _Stick(volume)
    selection = _selection(source, volume.bundle)
    if not force:
        _require_same_meaning(store, selection)
    require_present(store, volume.bundle, progress=progress)
    with store.writing():
        require_present(store, volume.bundle)  # again: from here on `gc` waits
        copied = copy(
            source,
            store,
            selection,
            elsewhere={blob.digest for blob in volume.bundle.requires},
            take_over=True,
            prove_source=True,
            progress=progress,
            before_names=lambda: gate.record(store, volume.bundle),
        )
    return Imported(volume.bundle, copied, gate.origin)


def _require_same_meaning(store: LayoutStore, selection: Selection) -> None:
    """Names must not move in silence: what an old name meant could be collected as garbage."""
    tags = store.tags()
    for tagged, entry in selection.tags.items():
        if tagged in tags and tags[tagged].digest != entry.digest:
            raise AlreadyExists(
                f"{tagged}: is {tags[tagged].digest.short} in the store and "
                f"{entry.digest.short} in the bundle",
                hint=f"`xttsreg tag {tagged} NEW` keeps the old one under another name; "
                "then import with --force",
            )


def _selection(source: LayoutStore, bundle: Bundle) -> Selection:
    """What the bundle brings; its index, its listing and its blobs must agree."""
    try:
        selection = select(source, source.tags())
    except (BlobNotFound, IntegrityError) as error:
        raise BundleMismatch(error.message, hint=AGAIN) from None
    needed = {blob.digest: blob.size_bytes for blob in selection.blobs()}
    listed = bundle.carried() | {r.digest: r.size_bytes for r in bundle.requires}
    for digest in dict(needed.items() ^ listed.items()):
        word = "is not what the listing says" if digest in needed else "belongs to nothing"
        raise BundleMismatch(f"{blob_path(digest)}: {word}", hint=AGAIN)
    return selection
