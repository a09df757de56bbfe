"""Store to stick: an OCI layout that ``sha256sum -c`` and any OCI tool can read."""

from __future__ import annotations

import contextlib
import datetime
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import xttsreg
from xttsreg.content.bundle import (
    FORMAT_VERSION,
    LICENSES_DIRECTORY,
    LISTING,
    README,
    SUMS,
    Bundle,
    BundleFile,
    BundleRef,
    format_sums,
)
from xttsreg.content.canonical import dump_canonical
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Index
from xttsreg.content.modelpack import LICENSE_FILE
from xttsreg.content.stream import digest_stream, read_verified
from xttsreg.errors import InsufficientSpace, InvalidInputError, XttsregError
from xttsreg.ops.copy import Copied, Selection, copy, select
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores import durable
from xttsreg.stores.layout import LAYOUT_FILE, STATE_DIRECTORY, LayoutStore

# What operating systems leave on every medium they see; never read, never carried.
SYSTEM_LITTER = frozenset(
    {"System Volume Information", "$RECYCLE.BIN", ".DS_Store", ".Spotlight-V100", ".Trashes",
     ".fseventsd", "lost+found", ".Trash-0", ".Trash-1000", "FOUND.000", STATE_DIRECTORY}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bundled:
    """What a bundle run did.

    Attributes:
        directory: The bundle.
        bundle: Its listing.
        copied: What was written, and what was there already.
    """

    directory: Path
    bundle: Bundle
    copied: Copied


def bundle(
    store: LayoutStore,
    tags: Mapping[str, Descriptor],
    directory: Path,
    *,
    progress: Progress = QUIET,
) -> Bundled:
    """Write a bundle of these tags, or bring the one that is there up to date.

    What the directory holds already and is right is not written again. ``SHA256SUMS`` comes last:
    without it, a directory is no bundle, so an interrupted run cannot be mistaken for one.

    Raises:
        InvalidInputError: the directory holds something else than a bundle.
        InsufficientSpace, ReadOnlyMedia: the medium cannot take it.
        IntegrityError: a blob of the store is damaged.
    """
    _require_ours(directory, store)
    selection = select(store, tags)
    before = _read_listing(directory)
    with durable.disk_errors(directory):
        durable.make_directory(directory)
        (directory / SUMS).unlink(missing_ok=True)
    target = LayoutStore.create(directory)
    _require_space(target, selection)
    with durable.disk_errors(directory):  # first of all, as the mark that this is a bundle
        durable.make_directory(target.state)
        _write(target, README, _readme(selection).encode("utf-8"))
    with store.reading():
        copied = copy(store, target, selection, together=False, progress=progress)
    _drop_rest(target, selection)
    with durable.disk_errors(directory):
        listing = _finish(target, selection, before)
        shutil.rmtree(target.state, ignore_errors=True)
    return Bundled(directory, listing, copied)


def _require_ours(directory: Path, store: LayoutStore) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise InvalidInputError(f"{directory}: not a directory")
    names = {path.name for path in directory.iterdir()} - SYSTEM_LITTER
    foreign = names - {
        LAYOUT_FILE,
        "index.json",
        "blobs",
        SUMS,
        LISTING,
        README,
        LICENSES_DIRECTORY,
    }
    if foreign or (names - {"blobs"} and LAYOUT_FILE not in names):
        raise InvalidInputError(
            f"{directory}: holds other things than a bundle ({sorted(foreign or names)[0]})",
            hint="give an empty directory, e.g. a folder on the stick",
        )
    # What a bundle does not need is removed from its directory, and a store must not lose that.
    is_store = "index.json" in names and not names & {README, LISTING}
    if is_store or directory.resolve() == store.root.resolve():
        raise InvalidInputError(
            f"{directory}: is a store, not a bundle",
            hint="give an empty directory, e.g. a folder on the stick",
        )


def _read_listing(directory: Path) -> Bundle | None:
    try:
        return Bundle.parse((directory / LISTING).read_bytes())
    except (OSError, XttsregError):
        return None  # it is written anew anyway


def _require_space(target: LayoutStore, selection: Selection) -> None:
    needed_bytes = sum(
        blob.size_bytes for blob in selection.blobs() if not target.blob_path(blob.digest).exists()
    )
    free_bytes = shutil.disk_usage(target.root).free
    if needed_bytes > free_bytes:
        raise InsufficientSpace(
            str(target.root),
            needed_bytes=needed_bytes,
            free_bytes=free_bytes,
            hint="use a larger medium, or bundle fewer weight sets",
        )


def _drop_rest(target: LayoutStore, selection: Selection) -> None:
    """Remove what an earlier bundle in this directory had and this one has not."""
    wanted = {blob.digest for blob in selection.blobs()}
    entries = [entry.with_ref(tagged) for tagged, entry in selection.tags.items()]
    entries += [entry.with_ref(None) for entry in selection.held]
    target.change_index(lambda _: Index(manifests=tuple(entries)))
    for digest in list(target.blob_digests()):
        if digest not in wanted:
            target.remove_blob(digest)


def _finish(target: LayoutStore, selection: Selection, before: Bundle | None) -> Bundle:
    """Write the terms, ``bundle.json`` and, last, ``SHA256SUMS``."""
    root = target.root
    blobs = [
        BundleFile(
            path=f"blobs/sha256/{blob.digest.hex}", size_bytes=blob.size_bytes, digest=blob.digest
        )
        for blob in selection.blobs()
    ]
    licenses = _write_licenses(target, selection)
    small = [_describe(root, name) for name in (LAYOUT_FILE, "index.json", README, *licenses)]
    listing = Bundle(
        format_version=FORMAT_VERSION,
        bundle_id=str(uuid.uuid4()),
        created=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        tool=f"xttsreg {xttsreg.__version__}",
        refs=tuple(BundleRef(ref=t, digest=e.digest) for t, e in sorted(selection.tags.items())),
        files=tuple(sorted((*blobs, *small), key=lambda file: file.path)),
    )
    if before and before.same_content(listing):
        listing = before  # the same bundle keeps its name
    data = dump_canonical(listing.to_json())
    _write(target, LISTING, data)
    sums = {file.path: file.digest for file in listing.files}
    _write(target, SUMS, format_sums({**sums, LISTING: Digest.of(data)}))
    return listing


def _write_licenses(target: LayoutStore, selection: Selection) -> list[str]:
    """The terms once more as files that a person can open without any tool of ours."""
    written: list[str] = []
    for tagged, entry in sorted(selection.tags.items()):
        layer = selection.manifests[entry.digest].files().get(LICENSE_FILE)
        if layer:
            name = f"{LICENSES_DIRECTORY}/{tagged.replace('/', '-').replace(':', '-')}.txt"
            if name.casefold() in map(str.casefold, written):  # team/x and team-x, :V1 and :v1
                name = name.removesuffix(".txt") + f"-{Digest.of(tagged.encode()).short}.txt"
            with target.open(layer) as raw:
                data = read_verified(raw, layer, what=name)
            durable.make_directory(target.root / LICENSES_DIRECTORY)
            _write(target, name, data)
            written.append(name)
    for path in (target.root / LICENSES_DIRECTORY).glob("*"):
        if f"{LICENSES_DIRECTORY}/{path.name}" not in written:
            path.unlink()
    return written


def _write(target: LayoutStore, name: str, data: bytes) -> None:
    path = target.root / name
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            return
    durable.write_atomic(path, data, temporary=target.state / f"{path.name}.tmp")


def _describe(root: Path, name: str) -> BundleFile:
    with (root / name).open("rb") as file:
        digest, size_bytes = digest_stream(file)
    return BundleFile(path=name, size_bytes=size_bytes, digest=digest)


def _readme(selection: Selection) -> str:
    lines = [f"  {tagged}  {entry.digest}" for tagged, entry in sorted(selection.tags.items())]
    return "\r\n".join(
        [
            "This directory is an xttsreg bundle: weights for XTTS_v2, to be carried to a",
            "machine without a network.",
            "",
            "It brings:",
            *lines,
            "",
            "Check it with standard tools:   sha256sum -c SHA256SUMS",
            "Take it in:                     xttsreg import .",
            "Fine-tune without a network:    xttsreg train --model NAME:TAG --dataset DIR ...",
            "",
            "The terms of the weights travel with them, in licenses/. Read them.",
            "",
        ]
    )
