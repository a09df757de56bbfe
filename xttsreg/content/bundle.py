"""What makes a layout on a stick a bundle: ``bundle.json`` and ``SHA256SUMS``.

``bundle.json`` says what the bundle is and lists every file of every volume with size and digest;
it has the same bytes on each of them. ``SHA256SUMS`` names every file of *this* volume but itself
and its signature, ``bundle.json`` included. So plain ``sha256sum -c`` checks a stick, and one
signature over ``SHA256SUMS`` covers all. A file that neither names does not belong there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import FailFast, Field

from xttsreg.content.canonical import load_strict
from xttsreg.content.descriptor import Document
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import parse_document
from xttsreg.content.paths import check_distinct_paths, check_relative_path
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidManifest, NewerFormat

FORMAT_VERSION = 2
LISTING = "bundle.json"
SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
UNLISTED = (SUMS, SIGNATURE, LISTING)
"""What is on every volume and cannot stand in ``bundle.json``."""
BLOBS = "blobs/sha256/"
PARTS = "parts/sha256/"
EVERY_VOLUME = 0
MAX_REFS = 10_000
"""Each name costs a write to the index; nobody carries more of them."""

_SUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


class BundleFile(Document):
    """One file of a bundle.

    Attributes:
        path: Relative, with slashes.
        volume: The stick that has it, from 1; 0 for what is on every one.
    """

    path: str
    size_bytes: int = Field(ge=0, strict=True)
    digest: Digest
    volume: int = Field(ge=0, strict=True)


class BundleRef(Document):
    """A name and what it means."""

    ref: str
    digest: Digest


class RequiredBlob(Document):
    """A blob that a thin bundle does not carry, and that the importing store must have."""

    digest: Digest
    size_bytes: int = Field(ge=0, strict=True)


class SplitBlob(Document):
    """A blob that travels in parts.

    Attributes:
        digest: Of the whole.
        size_bytes: Of the whole.
        paths: Its parts in order; each stands in `Bundle.files` with size and digest of its own.
    """

    digest: Digest
    size_bytes: int = Field(ge=0, strict=True)
    paths: tuple[str, ...] = Field(min_length=1)


class Bundle(Document):
    """``bundle.json``.

    Attributes:
        format_version: Of this document and of the bundle's layout as a whole.
        bundle_id: A random UUID, new for every bundle.
        sequence: Rises with every bundle of a store; an importer refuses to go back.
        previous: The ``bundle_id`` of the store's bundle before this one.
        created: RFC 3339, UTC.
        tool: Who wrote it.
        volumes: How many sticks it takes.
        refs: The names that an import adds.
        based_on: For people: the names that `requires` belongs to.
        requires: What is not carried.
        files: Every file of every volume but those in `UNLISTED`.
        parts: How split blobs are joined.
    """

    format_version: int = Field(ge=1, strict=True)
    bundle_id: str = Field(pattern=_UUID)
    sequence: int = Field(ge=1, le=2**53 - 1, strict=True)
    previous: str | None = Field(pattern=_UUID)
    created: str
    tool: str
    volumes: int = Field(ge=1, le=9999, strict=True)
    refs: Annotated[tuple[BundleRef, ...], FailFast()] = Field(max_length=MAX_REFS)
    based_on: Annotated[tuple[BundleRef, ...], FailFast()] = ()
    requires: Annotated[tuple[RequiredBlob, ...], FailFast()] = ()
    files: Annotated[tuple[BundleFile, ...], FailFast()]
    parts: Annotated[tuple[SplitBlob, ...], FailFast()] = ()

    @classmethod
    def parse(cls, data: bytes) -> Bundle:
        """Parse foreign bytes.

        Raises:
            NewerFormat: written by a later version; nothing else of it was read.
            InvalidManifest: malformed, or it contradicts itself.
            UnsafePath: a file name is unsafe.
        """
        value = load_strict(data, what=LISTING, limit_bytes=64 * 1024 * 1024)
        version = value.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise NewerFormat(
                f"the bundle has format version {version}, this xttsreg reads {FORMAT_VERSION}",
                hint="use the xttsreg that the bundle was made with, or a newer one",
            )
        bundle = parse_document(cls, value, LISTING)
        if bundle.format_version != FORMAT_VERSION:
            raise InvalidManifest(f"{LISTING}: format version {version} was never released")
        for file in bundle.files:
            check_relative_path(file.path)
        check_distinct_paths([*(file.path for file in bundle.files), *UNLISTED])
        for named in (*bundle.refs, *bundle.based_on):
            if Reference.parse(named.ref).tagged != named.ref:
                raise InvalidManifest(f"{LISTING}: {named.ref!r} is not name:tag")
        for problem in _contradictions(bundle):
            raise InvalidManifest(f"{LISTING}: {problem}")
        return bundle

    def volume_files(self, number: int) -> dict[str, BundleFile]:
        """Path to file, for everything on one volume; `UNLISTED` is there besides."""
        return {f.path: f for f in self.files if f.volume in (EVERY_VOLUME, number)}

    def volume_of(self, paths: Iterable[str]) -> int | None:
        """The volume that has exactly these files; None if none has."""
        wanted = set(paths)
        number = self.nearest_volume(wanted)
        return number if self.volume_files(number).keys() == wanted else None

    def nearest_volume(self, paths: Iterable[str]) -> int:
        """The volume that has the most of these files."""
        volumes = {file.path: file.volume for file in self.files if file.volume != EVERY_VOLUME}
        found = Counter(volumes[path] for path in paths if path in volumes)
        return found.most_common(1)[0][0] if found else 1

    def carried(self) -> dict[Digest, int]:
        """Every blob that the bundle carries, whole or in parts, with the size in bytes."""
        whole = {f.digest: f.size_bytes for f in self.files if f.path.startswith(BLOBS)}
        return {**whole, **{split.digest: split.size_bytes for split in self.parts}}

    def to_json(self) -> dict[str, Any]:
        """The JSON value."""
        return self.model_dump(mode="json")


def blob_path(digest: Digest) -> str:
    """Where a bundle has a whole blob."""
    return f"{BLOBS}{digest.hex}"


def part_path(digest: Digest, number: int) -> str:
    """Where a bundle has one part of a blob; ``number`` from 0."""
    return f"{PARTS}{digest.hex}.{number:03}"


def _contradictions(bundle: Bundle) -> Iterable[str]:
    files = {file.path: file for file in bundle.files}
    for file in bundle.files:
        if file.volume > bundle.volumes:
            yield f"{file.path}: on volume {file.volume} of {bundle.volumes}"
        if file.path.startswith(BLOBS) and file.path != blob_path(file.digest):
            yield f"{file.path}: is listed as {file.digest}"
    if bundle.volumes > 1:  # a volume is known by its files
        for number in set(range(1, bundle.volumes + 1)) - {f.volume for f in bundle.files}:
            yield f"nothing is on volume {number}"
    loose = {path for path in files if path.startswith(PARTS)}
    for split in bundle.parts:
        if split.paths != tuple(part_path(split.digest, n) for n in range(len(split.paths))):
            yield f"{split.digest}: its parts have other names"
        elif not loose.issuperset(split.paths):
            yield f"{split.digest}: one of its parts is not listed, or twice"
        elif sum(files[path].size_bytes for path in split.paths) != split.size_bytes:
            yield f"{split.digest}: its parts have another size than the whole"
        elif blob_path(split.digest) in files:
            yield f"{split.digest}: travels whole and in parts"
        loose -= set(split.paths)
    yield from (f"{path}: a part of nothing" for path in sorted(loose))
    carried = bundle.carried()
    for required in bundle.requires:
        if required.digest in carried:
            yield f"{required.digest}: is required and carried at once"


def format_sums(digests: Mapping[str, Digest]) -> bytes:
    """``SHA256SUMS`` for these files, sorted by name.

    >>> format_sums({"a": Digest("sha256:" + "0" * 64)})[-4:-1]
    b'  a'
    """
    lines = [f"{digest.hex}  {path}\n" for path, digest in sorted(digests.items())]
    return "".join(lines).encode("utf-8")


def parse_sums(data: bytes) -> dict[str, Digest]:
    """File name to digest. ``parse_sums(format_sums(x)) == x``.

    Raises:
        InvalidManifest: malformed, or a name twice.
        UnsafePath: a file name is unsafe.
    """
    found: dict[str, Digest] = {}
    try:
        # By "\n" alone, as sha256sum reads it; splitlines() knows eight more ends of a line.
        lines = data.decode("utf-8").removesuffix("\n").split("\n") if data else []
    except ValueError:
        raise InvalidManifest(f"{SUMS}: not UTF-8") from None
    for number, line in enumerate(lines, 1):
        match = _SUM_LINE.fullmatch(line)
        if not match or match[2] in found:
            raise InvalidManifest(f"{SUMS}: line {number} is malformed or a repetition")
        found[check_relative_path(match[2])] = Digest.from_hex(match[1])
    return found
