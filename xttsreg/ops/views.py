"""A weight set as plain files with their real names: what people and the trainer read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.stream import Advance
from xttsreg.errors import AlreadyExists, BlobNotFound, IntegrityError, InvalidModel
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores import durable
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore

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
        raise InvalidModel(f"{entry.digest}: has no files", hint="give a weight set or a voice")
    _require_free(directory, files)
    with store.reading():
        for path, layer in files.items():
            with progress.task(f"check {path}", layer.size_bytes) as advance:
                _require(store, path, layer, use_cache, advance)
        with durable.disk_errors(directory):
            made = not directory.exists()
            durable.make_directory(directory)
            try:
                with _unfinished(directory) as partial:
                    mode = _fill(store, files, partial, hardlink, progress)
                    _move(files, partial, directory)
            except BaseException:
                if made and not any(directory.iterdir()):
                    directory.rmdir()
                raise
    return mode


def _require_free(directory: Path, files: Collection[str]) -> None:
    """The directory is absent, empty, or what a checkout of these files has begun."""
    if directory.exists() and not directory.is_dir():
        raise AlreadyExists(f"{directory}: is a file", hint=_ELSEWHERE)
    names = {path.name for path in directory.iterdir()} if directory.exists() else set()
    begun = _UNFINISHED in names
    if names - ({_UNFINISHED, *(path.partition("/")[0] for path in files)} if begun else set()):
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


def _move(files: Iterable[str], partial: Path, directory: Path) -> None:
    """Give finished files their place, durably."""
    parents = {directory}
    for path in files:
        durable.make_directory((directory / path).parent)
        (partial / path).replace(directory / path)
        parents.add((directory / path).parent)
    for parent in parents:
        durable.sync_directory(parent)


def _require(
    store: LayoutStore, path: str, layer: Descriptor, use_cache: bool, advance: Advance
) -> None:
    store.open(layer).close()
    if not store.has(layer, use_cache=use_cache, advance=advance):
        raise IntegrityError(
            f"{path}: blob {layer.digest} is damaged in {store.root}",
            hint="`xttsreg verify` shows what else is; fetch or import the set again to mend it",
        )


def _fill(
    store: LayoutStore,
    files: dict[str, Descriptor],
    directory: Path,
    hardlink: bool,
    progress: Progress,
) -> Mode:
    modes: list[Mode] = []
    for path, layer in files.items():
        target = directory / path
        durable.make_directory(target.parent)
        modes.append(_place(store, layer, target, hardlink, progress, path))
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
    if durable.reflink(source, target):
        return "reflink"
    if hardlink:
        with contextlib.suppress(OSError):
            os.link(source, target, follow_symlinks=False)
            return "hardlink"
    with progress.task(label, layer.size_bytes) as advance:
        writer = durable.BlobWriter(target, target, layer)
        try:
            with store.open(layer) as raw:
                while chunk := raw.read(1 << 20):
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
