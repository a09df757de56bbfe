"""A weight set as plain files with their real names: what people and the trainer read."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.stream import Advance
from xttsreg.errors import AlreadyExists, BlobNotFound, IntegrityError, InvalidModel
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores import durable
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore

Mode = Literal["reflink", "hardlink", "copy"]


def checkout(
    store: LayoutStore,
    entry: Descriptor,
    directory: Path,
    *,
    hardlink: bool = False,
    only: Callable[[str], bool] = lambda path: True,
    progress: Progress = QUIET,
) -> Mode:
    """Make a view: every file proven, under its real name, nothing else beside it.

    Args:
        store: Where from.
        entry: A manifest.
        directory: Must not exist, or be empty.
        hardlink: Links are allowed where clones are not possible. Writing to a linked file
            writes into the store, whatever the mode says, so only for readers that are watched
            (see `check_after`).
        only: Which paths of the set to write.
        progress: Watches.

    Returns:
        The weakest way that was needed: clones and copies are the caller's own, links are not.

    Raises:
        AlreadyExists: the directory has something in it.
        BlobNotFound, IntegrityError: the set is incomplete or damaged; no directory is left.
    """
    whole = read_manifest(store, entry).files()
    files = {path: layer for path, layer in whole.items() if only(path)}
    if not files:
        raise InvalidModel(f"{entry.digest}: has no files", hint="give a weight set or a voice")
    if directory.exists() and not directory.is_dir():
        raise AlreadyExists(f"{directory}: is a file", hint="give a directory that does not exist")
    if directory.exists() and any(directory.iterdir()):
        raise AlreadyExists(f"{directory}: not empty", hint="give a directory that does not exist")
    with store.reading():
        for path, layer in files.items():
            with progress.task(f"check {path}", layer.size_bytes) as advance:
                _require(store, path, layer, advance)
        with durable.disk_errors(directory):
            try:
                return _fill(store, files, directory, hardlink, progress)
            except BaseException:
                shutil.rmtree(directory, ignore_errors=True)
                raise


def _require(store: LayoutStore, path: str, layer: Descriptor, advance: Advance) -> None:
    store.open(layer).close()
    if not store.has(layer, advance=advance):
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
        target.parent.mkdir(parents=True, exist_ok=True)
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
