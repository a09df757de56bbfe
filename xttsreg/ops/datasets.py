"""A dataset as content: a folder's files, by name and bytes, and nothing else."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import DATASET_TYPE, FILES, require_kind
from xttsreg.content.canonical import MAX_MANIFEST_BYTES
from xttsreg.content.descriptor import FILE_PATH, TITLE, Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import EMPTY_BYTES, EMPTY_TYPE, MANIFEST_TYPE, Manifest
from xttsreg.content.packs import LAYER_TYPE, PACK_TYPE, File, Unit, split
from xttsreg.content.paths import check_distinct_paths, check_relative_path
from xttsreg.content.reference import Reference
from xttsreg.content.stream import CHUNK_BYTES, Advance, Readable
from xttsreg.errors import DigestMismatch, InvalidDataset, SizeMismatch
from xttsreg.ops.naming import require_new_name, require_same_meaning
from xttsreg.ops.packing import CHANGED, PackReader
from xttsreg.ops.parallel import Cancel, in_parallel
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores.base import read_manifest, resolve
from xttsreg.stores.durable import disk_errors
from xttsreg.stores.layout import LayoutStore

_AT_ONCE = 8  # layers; writing one is mostly waiting for the disk


@dataclass(frozen=True, slots=True)
class Folder:
    """What was found in a folder.

    Attributes:
        directory: The folder.
        files: Those that count, sorted.
        hidden: Files and folders that do not, by their names.
    """

    directory: Path
    files: Sequence[File]
    hidden: Sequence[str]


@dataclass(frozen=True, slots=True)
class AddedDataset:
    """What an add did.

    Attributes:
        tagged: The name in the store.
        manifest: What it points at.
        files: How many files it has.
        size_bytes: Their bytes.
        hidden: What was left out.
    """

    tagged: str
    manifest: Descriptor
    files: int
    size_bytes: int
    hidden: Sequence[str]


def describe_dataset(directory: Path, *, progress: Progress = QUIET) -> Manifest:
    """The manifest that this folder has as a dataset; its digest stands in a voice's lineage.

    Hidden files do not count. The same files give the same digest, wherever they lie.

    Raises:
        InvalidDataset: there is nothing in it, or something that is no file.
        UnsafePath: a file name could not travel.
    """
    return _describe(list_folder(directory), progress)


def add_dataset(
    store: LayoutStore,
    reference: Reference,
    directory: Path,
    catalog: Catalog,
    *,
    force: bool = False,
    progress: Progress = QUIET,
) -> AddedDataset:
    """Take a folder in as a dataset; files that are there already are not written again.

    Args:
        store: Where to.
        reference: What it will be called.
        directory: The folder.
        catalog: Its names are taken.
        force: Move the name if it means something else.
        progress: Watches.

    Raises:
        AlreadyExists: the name means something else.
        InvalidDataset, UnsafePath: as `describe_dataset`; also if a file changes meanwhile.
    """
    require_new_name(reference, catalog)
    folder = list_folder(directory)
    manifest = _describe(folder, progress)
    entry = manifest.describe()
    if not force:
        require_same_meaning(store, reference, entry)
    size_bytes = sum(file.size_bytes for file in folder.files)
    with store.writing():
        _take(store, folder, manifest, progress)
        store.put_bytes(EMPTY_TYPE, EMPTY_BYTES)
        store.put_bytes(MANIFEST_TYPE, manifest.to_bytes())
        store.tag(reference.tagged, entry)
    return AddedDataset(reference.tagged, entry, len(folder.files), size_bytes, folder.hidden)


def provide_dataset(
    store: LayoutStore,
    reference: Reference,
    directory: Path | None,
    catalog: Catalog,
    *,
    progress: Progress = QUIET,
) -> Descriptor:
    """A dataset of a recipe: its folder is taken in, or what the store has is taken.

    Raises:
        AlreadyExists: the folder is not what the name means in the store.
        InvalidModel: without a folder, and the name means something else than a dataset.
        XttsregError: as `add_dataset` and `resolve`.
    """
    if directory is None:
        entry = resolve(store, reference)
        require_kind(reference, read_manifest(store, entry), "dataset")
        return entry
    done = add_dataset(store, reference, directory, catalog, progress=progress)
    if done.hidden:
        progress.note(f"{done.tagged}: {len(done.hidden)} hidden files or folders left out")
    return done.manifest


def list_folder(directory: Path) -> Folder:
    """The files of a folder, and what is left out. Links to files and folders are followed.

    Raises:
        InvalidDataset: no such folder, nothing in it, a link that leads nowhere or in a circle, or
            something that is no file.
        UnsafePath: a file name could not travel.
    """
    if not directory.is_dir():
        raise InvalidDataset(f"{directory}: no such directory")
    hidden: list[str] = []
    files = sorted(_walk(directory, "", (), hidden))
    if not files:
        raise InvalidDataset(f"{directory}: no files in it")
    check_distinct_paths(file.path for file in files)
    return Folder(directory, files, sorted(hidden))


def _walk(
    directory: Path, prefix: str, above: tuple[tuple[int, int], ...], hidden: list[str]
) -> Iterator[File]:
    with disk_errors(directory):
        status = directory.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise InvalidDataset(f"{directory}: a link that leads back to a folder above it")
        with os.scandir(directory) as found:
            entries = list(found)
    for entry in entries:
        path = prefix + entry.name
        if entry.name.startswith("."):
            hidden.append(path)
            continue
        check_relative_path(path)
        try:
            status = entry.stat()
        except FileNotFoundError:
            raise InvalidDataset(f"{entry.path}: a link that leads nowhere") from None
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(Path(entry.path), f"{path}/", (*above, here), hidden)
        elif stat.S_ISREG(status.st_mode):
            yield File(path, status.st_size)
        else:
            raise InvalidDataset(f"{entry.path}: neither a file nor a folder")


def _describe(folder: Folder, progress: Progress) -> Manifest:
    units = split(folder.files)

    def layer(unit: Unit, cancel: Cancel) -> Descriptor:
        with disk_errors(folder.directory / unit.name):
            return _hash(unit, folder.directory, cancel.watch(advance))

    with progress.task("hash dataset", sum(unit.size_bytes for unit in units)) as advance:
        layers = tuple(in_parallel(layer, units))
    count = {FILES: str(len(folder.files))} if any(unit.is_pack for unit in units) else {}
    empty = Descriptor(
        media_type=EMPTY_TYPE, digest=Digest.of(EMPTY_BYTES), size_bytes=len(EMPTY_BYTES)
    )
    manifest = Manifest(artifact_type=DATASET_TYPE, config=empty, layers=layers, annotations=count)
    size_bytes = len(manifest.to_bytes())
    if size_bytes > MAX_MANIFEST_BYTES:
        raise InvalidDataset(
            f"{folder.directory}: {len(folder.files)} files need a manifest of {size_bytes} bytes, "
            f"and {MAX_MANIFEST_BYTES} are the limit",
            hint="make several datasets of it",
        )
    return manifest


def _hash(unit: Unit, directory: Path, advance: Advance) -> Descriptor:
    """The layer of a unit, with the sizes that the folder's listing says."""
    hasher, count_bytes = hashlib.sha256(), 0
    with _open(unit, directory) as raw:
        while chunk := raw.read(CHUNK_BYTES):
            hasher.update(chunk)
            count_bytes += len(chunk)
            advance(len(chunk))
    if not unit.is_pack and count_bytes != unit.size_bytes:
        raise _changed(directory / unit.name)
    return Descriptor(
        media_type=PACK_TYPE if unit.is_pack else LAYER_TYPE,
        digest=Digest.from_hex(hasher.hexdigest()),
        size_bytes=count_bytes,
        annotations={FILE_PATH: unit.name, TITLE: unit.name},
    )


def _open(unit: Unit, directory: Path) -> AbstractContextManager[Readable]:
    if unit.is_pack:
        return nullcontext(PackReader(directory, unit.files))
    return (directory / unit.name).open("rb", buffering=0)


def _take(store: LayoutStore, folder: Folder, manifest: Manifest, progress: Progress) -> None:
    """Each blob appears when it is done, so that an interrupted add goes on from there."""

    def one(item: tuple[Unit, Descriptor], cancel: Cancel) -> None:
        unit, layer = item
        if store.has(layer):
            advance(layer.size_bytes)
            return
        watched = cancel.watch(advance)
        path = folder.directory / unit.name
        try:
            if unit.is_pack:
                publish = store.stage(layer, PackReader(folder.directory, unit.files), watched)
            else:
                publish = store.stage_file(layer, path, watched)
        except (DigestMismatch, SizeMismatch):
            raise _changed(path) from None
        publish()

    units = split(folder.files)
    total_bytes = sum(layer.size_bytes for layer in manifest.layers)
    with progress.task("store dataset", total_bytes) as advance:
        in_parallel(one, zip(units, manifest.layers, strict=True), threads=_AT_ONCE)


def _changed(path: Path) -> InvalidDataset:
    return InvalidDataset(f"{path}: has changed while it was read", hint=CHANGED)
