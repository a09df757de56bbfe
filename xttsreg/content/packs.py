"""How a folder's files become layers: each its own, or, when they are many, packed by the hundred.

A layer a file is the best there is: equal files are stored once, and a view of them takes no
space. But a manifest may have 4 MiB, a folder on FAT32 holds some ten thousand long names, and
each blob costs a sync of its own, on every medium that it passes. So a folder with more files than
a manifest should list has its small files in packs: plain tar archives without times or owners,
which any tool opens. What becomes of a folder follows from its names and bytes alone.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xttsreg.content.artifacts import is_terms

LAYER_TYPE = "application/vnd.cncf.model.dataset.v1.raw"
PACK_TYPE = "application/vnd.cncf.model.dataset.v1.tar"

LISTED_BYTES = 256 * 1024
"""About as much of a manifest may be taken by names of files: some thousand files."""
PACKED_BYTES = 16 * 1024 * 1024
"""Files of this size or more are layers of their own, always."""
PACK_BYTES = 64 * 1024 * 1024
"""A pack gets no further file if that would make it larger."""
MAX_FILES = 20_000
"""No pack has more: that none of so many names ends it does not happen."""
_ONE_IN = 128  # files; the mean length of a pack
_LAYER_BYTES = 220  # what a layer takes in a manifest beside its name, which is there twice
_BLOCK_BYTES = tarfile.BLOCKSIZE
END = bytes(2 * _BLOCK_BYTES)
"""What closes a tar archive."""


@dataclass(frozen=True, slots=True, order=True)
class File:
    """A file of a folder: relative posix path, and size."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Unit:
    """What becomes one layer.

    Attributes:
        name: The layer's file name. That of a pack is hidden, so that no file can have it.
        files: One, or those of a pack, sorted.
        is_pack: Whether it is an archive.
    """

    name: str
    files: Sequence[File]
    is_pack: bool

    @property
    def size_bytes(self) -> int:
        """Bytes of the layer; of a pack without what long names add."""
        if not self.is_pack:
            return self.files[0].size_bytes
        return sum(2 * _BLOCK_BYTES + file.size_bytes for file in self.files)


def split(files: Sequence[File]) -> list[Unit]:
    """The layers of a folder, sorted by name.

    Where a pack ends is told by the names in it: with a file more or less, the others stay what
    they are, and are neither stored nor carried again.
    """
    files = sorted(files)
    if sum(_LAYER_BYTES + 2 * len(file.path.encode()) for file in files) <= LISTED_BYTES:
        return [Unit(file.path, [file], False) for file in files]
    alone = [file for file in files if file.size_bytes >= PACKED_BYTES or is_terms(file.path)]
    rest = [file for file in files if not (file.size_bytes >= PACKED_BYTES or is_terms(file.path))]
    packs = [
        Unit(f".packs/{number:06}.tar", group, True)
        for number, group in enumerate(_groups(rest), 1)
    ]
    return sorted([*packs, *(Unit(file.path, [file], False) for file in alone)],
                  key=lambda unit: unit.name)  # fmt: skip


def _groups(files: Sequence[File]) -> Iterator[list[File]]:
    group: list[File] = []
    size_bytes = 0
    for file in files:
        if group and size_bytes + file.size_bytes > PACK_BYTES:
            yield group
            group, size_bytes = [], 0
        group.append(file)
        size_bytes += file.size_bytes
        if _ends_pack(file.path):
            yield group
            group, size_bytes = [], 0
    if group:
        yield group


def _ends_pack(path: str) -> bool:
    digest = hashlib.sha256(path.encode()).digest()
    return int.from_bytes(digest[:4], "big") % _ONE_IN == 0


def header(file: File) -> bytes:
    """What stands before a file in a pack."""
    info = tarfile.TarInfo(file.path)
    info.size, info.mode = file.size_bytes, 0o644  # the rest is zero: time, owner, group
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def padding(file: File) -> bytes:
    """What stands behind a file in a pack."""
    return bytes(-file.size_bytes % _BLOCK_BYTES)
