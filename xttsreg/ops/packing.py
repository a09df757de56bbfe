"""Packs in and out: files of a folder as one stream, and back."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.packs import END, MAX_FILES, File, header, padding
from xttsreg.content.paths import check_relative_path
from xttsreg.content.plaintar import PlainMember, open_plain
from xttsreg.content.stream import CHUNK_BYTES, Advance, Readable, VerifyingReader
from xttsreg.errors import IntegrityError, InvalidDataset
from xttsreg.stores.durable import disk_errors

CHANGED = "leave the folder alone while it is read, then try again"


class PackReader:
    """The bytes of a pack, made while they are read; one file is open at a time."""

    def __init__(self, directory: Path, files: Sequence[File]) -> None:
        self._chunks = _stream(directory, files)
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes; empty at the end.

        Raises:
            InvalidDataset: a file has another size than when the folder was listed.
        """
        if not self._rest:
            self._rest = next(self._chunks, b"")
        cut = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:cut], self._rest[cut:]
        return data


def _stream(directory: Path, files: Sequence[File]) -> Iterator[bytes]:
    for file in files:
        path, before = directory / file.path, header(file)
        count_bytes = 0
        with disk_errors(path), path.open("rb", buffering=0) as opened:
            while chunk := opened.read(CHUNK_BYTES):
                count_bytes += len(chunk)
                if count_bytes > file.size_bytes:
                    break
                yield before + chunk if before else chunk
                before = b""
        if count_bytes != file.size_bytes:
            raise InvalidDataset(f"{path}: has changed while it was read", hint=CHANGED)
        if rest := before + padding(file):
            yield rest
    yield END


def unpack(raw: Readable, layer: Descriptor, directory: Path, advance: Advance) -> None:
    """Write the files of a pack; all of them are there, or this raises.

    Args:
        raw: The pack's bytes; hashed on the way.
        layer: What they must be.
        directory: Where to.
        advance: Watches.

    Raises:
        DigestMismatch, SizeMismatch: other bytes.
        IntegrityError, UnsafePath: something else in it than files with safe names, each once.
    """
    what = layer.file_path or "pack"
    reader = _Watched(VerifyingReader(raw, layer, what=what), advance)
    try:
        with tarfile.open(  # type: ignore[call-overload]
            fileobj=reader, mode="r|", bufsize=CHUNK_BYTES, tarinfo=PlainMember
        ) as archive:
            for number, member in enumerate(archive):
                if number == MAX_FILES:
                    raise IntegrityError(f"{what}: has more than {MAX_FILES} files")
                _write(archive, member, directory, what)
    except tarfile.TarError as error:
        raise IntegrityError(f"{what}: not an archive that can be read ({error})") from None
    while reader.read(CHUNK_BYTES):
        pass  # to the end, where the digest is compared


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, directory: Path, what: str) -> None:
    source = open_plain(archive, member)
    if source is None:
        raise IntegrityError(f"{what}: {member.name[:200]!r} is no regular file")
    target = directory / check_relative_path(member.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("xb") as file:
            while chunk := source.read(CHUNK_BYTES):
                file.write(chunk)
    except FileExistsError:
        raise IntegrityError(f"{what}: {member.name!r} is in it twice") from None


class _Watched:
    """Tells how far a reader is."""

    def __init__(self, reader: VerifyingReader, advance: Advance) -> None:
        self._reader, self._advance = reader, advance

    def read(self, size: int = -1, /) -> bytes:
        data = self._reader.read(size)
        self._advance(len(data))
        return data
