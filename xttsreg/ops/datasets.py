"""A dataset as content: one digest over every file's name and bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from xttsreg.content.descriptor import FILE_PATH, TITLE, Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import EMPTY_BYTES, EMPTY_TYPE, Manifest
from xttsreg.content.paths import check_relative_path
from xttsreg.content.stream import digest_stream
from xttsreg.errors import InvalidDataset
from xttsreg.ops.parallel import Cancel, in_parallel
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores.durable import disk_errors

LAYER_TYPE = "application/vnd.cncf.model.dataset.v1.raw"
ARTIFACT_TYPE = "application/vnd.xttsreg.dataset.v1+json"


def describe_dataset(directory: Path, *, progress: Progress = QUIET) -> Manifest:
    """The manifest that this folder has as a dataset; its digest stands in a voice's lineage.

    Hidden files do not count. The same files give the same digest, wherever they lie.

    Raises:
        InvalidDataset: there is nothing in it.
        UnsafePath: a file name could not travel.
    """
    paths = sorted(_files(directory))
    if not paths:
        raise InvalidDataset(f"{directory}: no files in it")
    total_bytes = sum((directory / path).stat().st_size for path in paths)

    def layer(path: str, cancel: Cancel) -> Descriptor:
        with disk_errors(directory / path), (directory / path).open("rb", buffering=0) as file:
            digest, size_bytes = digest_stream(file, cancel.watch(advance))
        names = {FILE_PATH: path, TITLE: path}
        return Descriptor(
            media_type=LAYER_TYPE, digest=digest, size_bytes=size_bytes, annotations=names
        )

    with progress.task("hash dataset", total_bytes) as advance:
        layers = tuple(in_parallel(layer, paths))
    empty = Descriptor(
        media_type=EMPTY_TYPE, digest=Digest.of(EMPTY_BYTES), size_bytes=len(EMPTY_BYTES)
    )
    return Manifest(artifact_type=ARTIFACT_TYPE, config=empty, layers=layers)


def _files(directory: Path) -> Iterator[str]:
    for root, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                path = (Path(root) / name).relative_to(directory).as_posix()
                yield check_relative_path(path)
