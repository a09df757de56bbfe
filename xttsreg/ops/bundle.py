"""Store to stick: an OCI layout that ``sha256sum -c`` and any OCI tool read. Plan, then write."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import xttsreg
from xttsreg.content.bundle import LISTING, Bundle
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.inventory import Inventory
from xttsreg.errors import InvalidInputError, XttsregError
from xttsreg.ops import plan
from xttsreg.ops.archive import archive_file, write_archive
from xttsreg.ops.copy import select
from xttsreg.ops.issued import issue
from xttsreg.ops.medium import limits_of
from xttsreg.ops.parts import digest_parts
from xttsreg.ops.plan import Plan
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.ops.signing import BUNDLE_NAMESPACE, SigningKey
from xttsreg.ops.smallfiles import small_files
from xttsreg.ops.spread import FAT32_FILE_BYTES, Limits
from xttsreg.ops.stick import require_ours
from xttsreg.ops.thin import omit
from xttsreg.ops.writing import Sign, Written, write_volume
from xttsreg.stores.layout import LayoutStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """What a bundle is written onto.

    Attributes:
        volume_bytes: The room on one stick; None for one that takes all.
        volume: Write only this one, from 1; None writes all of them.
        file_bytes: The longest file; None for what the medium can do.
    """

    volume_bytes: int | None = None
    volume: int | None = None
    file_bytes: int | None = None

    def limits(self, directory: Path) -> Limits:
        """For planning.

        Several volumes are planned for FAT32, whatever the first one is: the plan must be the
        same when the next stick is in the port.
        """
        found = limits_of(directory)
        if self.volume_bytes is not None:
            found = replace(found, file_bytes=FAT32_FILE_BYTES, block_bytes=Limits().block_bytes)
        return replace(
            found,
            file_bytes=self.file_bytes or found.file_bytes,
            volume_bytes=self.volume_bytes,
        )


ONE = Media()


@dataclass(frozen=True, slots=True)
class Bundled:
    """What a bundle run did.

    Attributes:
        directory: The bundle, or what its volumes lie in.
        bundle: Its listing.
        volumes: What was written on each volume, and what was there already.
    """

    directory: Path
    bundle: Bundle
    volumes: tuple[Written, ...]

    @property
    def files(self) -> int:
        """Files written, the lists not counted."""
        return sum(volume.files for volume in self.volumes)

    @property
    def size_bytes(self) -> int:
        """Bytes written."""
        return sum(volume.size_bytes for volume in self.volumes)

    @property
    def skipped_bytes(self) -> int:
        """Bytes that were there, and right."""
        return sum(volume.skipped_bytes for volume in self.volumes)


def bundle(
    store: LayoutStore,
    tags: Mapping[str, Descriptor],
    directory: Path,
    *,
    media: Media = ONE,
    key: SigningKey | None = None,
    since: Inventory | None = None,
    thin: bool = False,
    readback: bool = False,
    progress: Progress = QUIET,
) -> Bundled:
    """Write a bundle of these tags, or bring the one that is there up to date.

    Args:
        store: Has them.
        tags: ``name:tag`` to manifest.
        directory: Where to. Of several volumes each gets a directory in it, unless only one is
            wanted.
        media: What it is written onto.
        key: Signs it.
        since: What the other side has: it is left out.
        thin: Also leave out what belongs to the bases of the voices and runs.
        readback: Check what was written as the medium gives it, not the system's memory.
        progress: Watches.

    Raises:
        InvalidInputError: the directory holds something else than a bundle; too narrow limits.
        SigningFailed: the key could not be used; nothing was written.
        InsufficientSpace, ReadOnlyMedia: the medium cannot take it.
        IntegrityError: a blob of the store is damaged.
    """
    apart = media.volume_bytes is not None and media.volume is None
    _require_memory(store, media)
    if not apart:
        require_ours(directory, store)
    held = directory / _volume_name(1) if apart else directory
    with store.reading():
        planned = make_plan(
            store,
            tags,
            media.limits(directory),
            since=since,
            thin=thin,
            held=_held(held),
            progress=progress,
        )
        numbers = range(1, planned.bundle.volumes + 1)
        if media.volume is not None and media.volume not in numbers:
            raise InvalidInputError(
                f"there is no volume {media.volume}: the bundle has {planned.bundle.volumes}"
            )
        places = {n: directory / _volume_name(n) for n in numbers} if apart else {
            media.volume or 1: directory
        }  # fmt: skip
        if apart:
            _clear_apart(directory, store, places.values())
        written = tuple(
            write_volume(
                store,
                planned,
                number,
                place,
                sign=_signing(key),
                readback=readback,
                progress=progress,
            )
            for number, place in places.items()
        )
    return Bundled(directory, planned.bundle, written)


def bundle_archive(
    store: LayoutStore,
    tags: Mapping[str, Descriptor],
    archive: Path | IO[bytes],
    *,
    key: SigningKey | None = None,
    since: Inventory | None = None,
    thin: bool = False,
    progress: Progress = QUIET,
) -> tuple[Bundle, int]:
    """Write a bundle of these tags as one tar: to a file, or to a stream such as a pipe.

    Returns:
        Its listing, and the bytes of the files in it.

    Raises:
        XttsregError: as `bundle`. A file appears only when it is whole.
    """
    with store.reading():
        planned = make_plan(store, tags, Limits(), since=since, thin=thin, progress=progress)
        to = archive_file(archive, planned) if isinstance(archive, Path) else nullcontext(archive)
        with to as out:
            size_bytes = write_archive(store, planned, out, sign=_signing(key), progress=progress)
    return planned.bundle, size_bytes


def make_plan(
    store: LayoutStore,
    tags: Mapping[str, Descriptor],
    limits: Limits,
    *,
    since: Inventory | None = None,
    thin: bool = False,
    held: str | None = None,
    progress: Progress = QUIET,
) -> Plan:
    """Everything that the bundle will hold, under the name that it has or gets.

    Args:
        store: Has the tags.
        tags: ``name:tag`` to manifest.
        limits: Of the media.
        since: What the other side has.
        thin: Leave out the bases.
        held: The id of the bundle that the medium says it has.
        progress: Watches the blobs that are split.

    Raises:
        InvalidInputError: too narrow limits.
        IntegrityError, BlobNotFound: something in the store is missing or damaged.
    """
    selection = select(store, tags)
    small = small_files(store, selection)
    omitted = omit(store, selection, since=since, thin=thin)
    labels = selection.labels()

    def look(blob: Descriptor, sizes: plan.Sizes) -> list[Digest]:
        label = labels.get(blob.digest, blob.digest.short).partition(" ")[2]
        with progress.task(f"split {label}", blob.size_bytes) as advance:
            return digest_parts(store, blob, sizes, advance)

    unnamed = plan.draft(
        selection,
        small,
        limits=limits,
        tool=f"xttsreg {xttsreg.__version__}",
        digest_parts=look,
        absent=omitted.digests,
        based_on=omitted.based_on,
    )
    return plan.complete(issue(store, unnamed, held=held), selection, small)


def _require_memory(store: LayoutStore, media: Media) -> None:
    if media.volume is not None and media.volume_bytes is None:
        raise InvalidInputError(
            "one volume of how many? the size of a volume was not given", hint="add --volume-size"
        )
    if media.volume is not None and not store.is_writable():
        raise InvalidInputError(
            f"{store.root}: cannot be written to, so it cannot remember which bundle the other "
            "volumes belong to",
            hint="leave out --volume, and write all volumes in one run",
        )


def _volume_name(number: int) -> str:
    return f"volume-{number}"


def _clear_apart(directory: Path, store: LayoutStore, places: Collection[Path]) -> None:
    """Look at the directory of several volumes; remove volumes that an earlier bundle had more.

    Raises:
        InvalidInputError: it holds something else.
    """
    if directory.exists() and not directory.is_dir():
        raise InvalidInputError(f"{directory}: not a directory")
    more = set(directory.glob("volume-*")) - set(places) if directory.is_dir() else set()
    for place in (*places, *more):
        require_ours(place, store)
    for place in more:
        with contextlib.suppress(OSError):
            shutil.rmtree(place)


def _signing(key: SigningKey | None) -> Sign | None:
    if key is None:
        return None
    return lambda sums, before: key.sign_again(sums, before, BUNDLE_NAMESPACE)


def _held(directory: Path) -> str | None:
    """The id of the bundle that lies there already, as it says itself."""
    try:
        return Bundle.parse((directory / LISTING).read_bytes()).bundle_id
    except (OSError, XttsregError):
        return None
