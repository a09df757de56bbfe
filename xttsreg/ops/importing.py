"""Stick to store: check everything, read each byte once, then take all of it or nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xttsreg.content.bundle import LISTING, SUMS, Bundle, format_sums, parse_sums
from xttsreg.content.digest import Digest
from xttsreg.content.stream import digest_stream
from xttsreg.errors import (
    AlreadyExists,
    BlobNotFound,
    BundleMismatch,
    IntegrityError,
    InvalidInputError,
    InvalidManifest,
    UnsafePath,
)
from xttsreg.ops.bundle import SYSTEM_LITTER
from xttsreg.ops.copy import Copied, Selection, copy, select
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores.durable import disk_errors
from xttsreg.stores.layout import LayoutStore

_SMALL_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        bundle: The bundle's listing.
        copied: What was new, and what the store had already.
    """

    bundle: Bundle
    copied: Copied


def import_bundle(
    directory: Path, store: LayoutStore, *, force: bool = False, progress: Progress = QUIET
) -> Imported:
    """Take a bundle in.

    Names, sizes and the small files are checked first; the blobs are hashed while they are copied
    (or linked), and get their names in the store only when all of them are right.

    Args:
        directory: The bundle.
        store: Where to.
        force: Names that the store uses for something else are moved.
        progress: Watches.

    Raises:
        InvalidInputError: no bundle, or malformed.
        NewerFormat: written by a later version.
        AlreadyExists: a name means something else in the store.
        IntegrityError: a file is missing, too many, of another size, or has other bytes; names it.
            The store is as it was.
    """
    listing = read_bundle(directory)
    source = LayoutStore.open_existing(directory)
    selection = _selection(source, listing)
    if not force:
        _require_same_meaning(store, selection)
    copied = copy(source, store, selection, take_over=True, prove_source=True, progress=progress)
    return Imported(listing, copied)


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


def read_bundle(directory: Path) -> Bundle:
    """Read a bundle's listing, and hold the directory against it by name and size.

    Raises:
        InvalidInputError, NewerFormat, BundleMismatch: as `import_bundle`.
    """
    if not directory.is_dir():
        word = "not a directory" if directory.exists() else "no such directory"
        raise InvalidInputError(f"{directory}: {word}", hint="give the directory of a bundle")
    for name in (SUMS, LISTING):
        if not (directory / name).is_file():
            raise InvalidInputError(
                f"{directory}: no bundle here ({name} is missing)",
                hint="give the directory that holds SHA256SUMS; if `xttsreg bundle` was "
                "interrupted, run it again",
            )
    data = _read_small(directory / LISTING)
    sums_data = _read_small(directory / SUMS)
    try:
        sums = parse_sums(sums_data)
    except InvalidManifest as error:
        raise BundleMismatch(error.message, hint=_AGAIN) from None
    except UnsafePath as error:
        raise BundleMismatch(f"{SUMS}: {error.message}", hint=_AGAIN) from None
    # Before it is parsed: a damaged listing is damaged, and not malformed or of a newer format.
    if sums.get(LISTING) != Digest.of(data):
        raise BundleMismatch(f"{LISTING}: not the one that {SUMS} names", hint=_AGAIN)
    listing = Bundle.parse(data)
    expected = {file.path: file.digest for file in listing.files}
    if sums != {**expected, LISTING: Digest.of(data)}:
        different = sorted(set(sums.items()) ^ {*expected.items(), (LISTING, sums[LISTING])})
        raise BundleMismatch(f"{different[0][0]}: {SUMS} and {LISTING} disagree", hint=_AGAIN)
    if sums_data != format_sums(sums):
        raise BundleMismatch(f"{SUMS}: not as it was written", hint=_AGAIN)
    _compare(directory, listing)
    _check_small(directory, listing)
    return listing


_AGAIN = "nothing was imported; carry the bundle again, or make it anew"


def _compare(directory: Path, listing: Bundle) -> None:
    """Every file of the listing is there with its size, and no other."""
    expected = {file.path: file.size_bytes for file in listing.files}
    found = dict(_walk(directory))
    problems = [f"{path}: missing" for path in expected if path not in found]
    problems += [
        f"{path}: not in the bundle's listing"
        for path in found
        if path not in expected and path not in (SUMS, LISTING)
    ]
    problems += [
        f"{path}: {'not a regular file' if size is None else f'{size} bytes'}, "
        f"expected {expected[path]} bytes"
        for path, size in found.items()
        if path in expected and size != expected[path]
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise BundleMismatch(sorted(problems)[0] + more, hint=_AGAIN)


def _walk(directory: Path, prefix: str = "") -> Iterator[tuple[str, int | None]]:
    """Relative path and size of every file; size None for what is no regular file."""
    with disk_errors(directory), os.scandir(directory) as entries:
        for entry in entries:
            if not prefix and (entry.name in SYSTEM_LITTER or entry.name.startswith("._")):
                continue
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                regular = stat.S_ISREG(status.st_mode)
                yield prefix + entry.name, status.st_size if regular else None


def _check_small(directory: Path, listing: Bundle) -> None:
    """Prove the files that are read rather than copied: the index, and what people may run."""
    for file in listing.files:
        if file.path.startswith("blobs/"):
            continue
        with disk_errors(directory), (directory / file.path).open("rb") as opened:
            digest, _ = digest_stream(opened)
        if digest != file.digest:
            raise BundleMismatch(
                f"{file.path}: digest is {digest}, expected {file.digest}", hint=_AGAIN
            )


def _selection(source: LayoutStore, listing: Bundle) -> Selection:
    """What the bundle brings; its index, its listing and its blobs must agree."""
    tags = dict(source.tags())
    promised = {ref.ref: ref.digest for ref in listing.refs}
    if {tagged: entry.digest for tagged, entry in tags.items()} != promised:
        raise BundleMismatch(f"index.json: other names than in {LISTING}", hint=_AGAIN)
    try:
        selection = select(source, tags)
    except (BlobNotFound, IntegrityError) as error:
        raise BundleMismatch(error.message, hint=_AGAIN) from None
    needed = {blob.digest: blob for blob in selection.blobs()}
    listed = {f.digest: f for f in listing.files if f.path == f"blobs/sha256/{f.digest.hex}"}
    for digest in needed.keys() ^ listed.keys():
        word = "is missing from the listing" if digest in needed else "belongs to nothing"
        raise BundleMismatch(f"blobs/sha256/{digest.hex}: {word}", hint=_AGAIN)
    return selection


def _read_small(path: Path) -> bytes:
    with disk_errors(path), path.open("rb") as file:
        return file.read(_SMALL_BYTES)
