"""A set or a dataset as plain files with their real names: what people and the trainer read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.packs import PACK_TYPE
from xttsreg.content.stream import CHUNK_BYTES
from xttsreg.errors import AlreadyExists, BlobNotFound, IntegrityError, InvalidModel
from xttsreg.ops.packing import unpack
from xttsreg.ops.parallel import Cancel, in_parallel
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores import durable, links
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.syncing import sync_filesystem
from xttsreg.stores.writer import BlobWriter

Mode = Literal["reflink", "hardlink", "copy"]
_UNFINISHED = ".xttsreg-unfinished"
_ELSEWHERE = "give a directory that does not exist"


def checkout(
    store: LayoutStore,
    entry: Descriptor,
    directory: Path,
    *,
    hardlink: bool = False,
    only: Callable[[str], bool] = lambda path: True,
    beside: Mapping[str, bytes] | None = None,
    use_cache: bool = True,
    progress: Progress = QUIET,
) -> Mode:
    """Make a view: every file proven, under its real name, nothing else beside it.

    Names appear when every file is whole and on the disk.

    Args:
        store: Where from.
        entry: A manifest.
        directory: Must not exist, be empty, or hold what a killed checkout of it has left.
        hardlink: Links are allowed where clones are not possible. Writing to a linked file
            writes into the store, whatever the mode says, so only for readers that are watched
            (see `check_after`).
        only: Which paths of the set to write.
        beside: Small files that come with it, by name.
        use_cache: Believe a record of an earlier check; False finds rot that left no trace in the
            file's times, too.
        progress: Watches.

    Returns:
        The weakest way that was needed: clones and copies are the caller's own, links are not.

    Raises:
        AlreadyExists: the directory has something in it.
        BlobNotFound, IntegrityError: the set is incomplete or damaged; nothing is left behind.
    """
    whole = read_manifest(store, entry).files()
    files = {path: layer for path, layer in whole.items() if only(path)}
    if not files:
        raise InvalidModel(f"{entry.digest}: has no files")
    beside = beside or {}
    with durable.disk_errors(directory):
        _require_free(directory, files, set(beside))
    with store.reading():
        _require(store, files, use_cache, progress)
        with durable.disk_errors(directory, sum(layer.size_bytes for layer in files.values())):
            made = not directory.exists()
            durable.make_directory(directory)
            try:
                with _unfinished(directory) as partial:
                    mode = _fill(store, files, partial, hardlink, progress)
                    for name, content in beside.items():
                        new = partial / f"{name}.new"
                        durable.write_atomic(partial / name, content, temporary=new)
                    _move(partial, directory)
            except BaseException:
                if made and not any(directory.iterdir()):
                    directory.rmdir()
                raise
    return mode


def _require_free(directory: Path, files: Mapping[str, Descriptor], beside: set[str]) -> None:
    """The directory is absent, empty, or what a checkout of these files has begun."""
    if directory.exists() and not directory.is_dir():
        raise AlreadyExists(f"{directory}: is a file", hint=_ELSEWHERE)
    names = {path.name for path in directory.iterdir()} if directory.exists() else set()
    if _UNFINISHED not in names and names:
        raise AlreadyExists(f"{directory}: not empty", hint=_ELSEWHERE)
    if not any(layer.media_type == PACK_TYPE for layer in files.values()):
        _require_begun(directory, names, beside | {path.partition("/")[0] for path in files})


def _require_begun(directory: Path, names: set[str], known: set[str]) -> None:
    if names - {_UNFINISHED} - known:
        raise AlreadyExists(f"{directory}: not empty", hint=_ELSEWHERE)


@contextlib.contextmanager
def _unfinished(directory: Path) -> Iterator[Path]:
    """A place inside the directory to make files in.

    While it is there, the view is not complete. A killed process leaves it, and the next checkout
    to this directory takes it over.
    """
    place = directory / _UNFINISHED
    durable.make_directory(place)
    try:
        with FileLock(place / "lock", timeout=0):
            durable.remove_tree(place / "files")
            durable.make_directory(place / "files")
            yield place / "files"
            durable.remove_tree(place)
        durable.sync_directory(directory)
    except Timeout:
        raise AlreadyExists(f"{directory}: another process writes here", hint=_ELSEWHERE) from None
    except BaseException:
        # Files that have moved up already are whole; with the mark beside them they are unfinished.
        if {path.name for path in directory.iterdir()} == {_UNFINISHED}:
            durable.remove_tree(place)
        raise


def _move(partial: Path, directory: Path) -> None:
    """Give finished files their place, durably."""
    names = {path.name for path in directory.iterdir()}
    _require_begun(directory, names, {path.name for path in partial.iterdir()})
    parents = {directory}
    for path in sorted(path for path in partial.rglob("*") if not path.is_dir()):
        target = directory / path.relative_to(partial)
        if target.parent not in parents:
            durable.make_directory(target.parent)
            parents.add(target.parent)
        path.replace(target)
    for parent in parents:
        durable.sync_directory(parent)


def _require(
    store: LayoutStore, files: Mapping[str, Descriptor], use_cache: bool, progress: Progress
) -> None:
    """Prove every blob. Files with the same bytes are one."""
    unique = {layer.digest: (path, layer) for path, layer in files.items()}

    def one(item: tuple[str, Descriptor], cancel: Cancel) -> None:
        path, layer = item
        store.open(layer).close()
        with progress.task(f"check {path}", layer.size_bytes) as advance:
            right = store.has(layer, use_cache=use_cache, advance=cancel.watch(advance))
        if not right:
            raise IntegrityError(
                f"{path}: blob {layer.digest} is damaged in {store.root}",
                hint="`xttsreg verify` shows what else is; fetch or import the set again to mend "
                "it",
            )

    in_parallel(one, unique.values())


def _fill(
    store: LayoutStore,
    files: Mapping[str, Descriptor],
    directory: Path,
    hardlink: bool,
    progress: Progress,
) -> Mode:
    def one(item: tuple[str, Descriptor], cancel: Cancel) -> Mode:
        path, layer = item
        if layer.media_type == PACK_TYPE:
            with store.open(layer) as raw, progress.task(path, layer.size_bytes) as advance:
                unpack(raw, layer, directory, cancel.watch(advance))
            return "copy"
        target = directory / path
        durable.make_directory(target.parent)
        return _place(store, layer, target, hardlink, progress, path)

    modes = in_parallel(one, files.items())
    if any(layer.media_type == PACK_TYPE for layer in files.values()):
        sync_filesystem(directory)  # once, instead of each of a hundred thousand small files
    order: tuple[Mode, ...] = ("hardlink", "copy", "reflink")
    return min(modes, key=order.index)


def _place(
    store: LayoutStore,
    layer: Descriptor,
    target: Path,
    hardlink: bool,
    progress: Progress,
    label: str,
) -> Mode:
    source = store.blob_path(layer.digest)
    if links.reflink(source, target):
        return "reflink"
    if hardlink:
        with contextlib.suppress(OSError):
            os.link(source, target, follow_symlinks=False)
            return "hardlink"
    with progress.task(label, layer.size_bytes) as advance:
        writer = BlobWriter(target, target, layer)
        try:
            with store.open(layer) as raw:
                while chunk := raw.read(CHUNK_BYTES):
                    writer.write(chunk)
                    advance(len(chunk))
            writer.finish()
        except BaseException:
            writer.discard()
            raise
    return "copy"


def check_after(store: LayoutStore, entry: Descriptor) -> None:
    """Make sure that a program that had links to blobs has left them alone.

    Raises:
        IntegrityError: names the file that was changed; its blob in the store is damaged.
    """
    try:
        files = read_manifest(store, entry).files()
    except BlobNotFound:
        return  # removed and collected meanwhile, like the blobs below; nobody's fault
    for path, layer in files.items():
        if store.blob_path(layer.digest).exists() and not store.has(layer):
            raise IntegrityError(
                f"{path}: was changed during the run, and with it blob {layer.digest}",
                hint="fetch or import the set again to mend it; keep the program away from it",
            )
