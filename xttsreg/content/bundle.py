"""What makes a layout on a stick a bundle: ``bundle.json``, ``SHA256SUMS`` and ``README.txt``.

``SHA256SUMS`` names every other file, so that plain ``sha256sum -c`` checks the stick.
``bundle.json`` says what the stick is, and lists every file with its size but itself and
``SHA256SUMS``. A file that neither names does not belong there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from xttsreg.content.canonical import load_strict
from xttsreg.content.descriptor import Document
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import parse_document
from xttsreg.content.paths import check_distinct_paths, check_relative_path
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidManifest, NewerFormat

FORMAT_VERSION = 1
LISTING = "bundle.json"
SUMS = "SHA256SUMS"
README = "README.txt"
LICENSES_DIRECTORY = "licenses"

_SUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


class BundleFile(Document):
    """One file of a bundle."""

    path: str
    size_bytes: int = Field(ge=0, strict=True)
    digest: Digest


class BundleRef(Document):
    """One name that the bundle brings."""

    ref: str
    digest: Digest


class Bundle(Document):
    """``bundle.json``.

    Attributes:
        format_version: Of this document and of the bundle's layout as a whole.
        bundle_id: Random, new for every bundle.
        created: RFC 3339, UTC.
        tool: Who wrote it.
        refs: The names that an import adds.
        files: Every file but ``bundle.json`` and ``SHA256SUMS``.
    """

    format_version: int = Field(ge=1, strict=True)
    bundle_id: str
    created: str
    tool: str
    refs: tuple[BundleRef, ...]
    files: tuple[BundleFile, ...]

    @classmethod
    def parse(cls, data: bytes) -> Bundle:
        """Parse foreign bytes.

        Raises:
            NewerFormat: written by a later version; nothing else of it was read.
            InvalidManifest: malformed.
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
        for file in bundle.files:
            check_relative_path(file.path)
        check_distinct_paths(file.path for file in bundle.files)
        for brought in bundle.refs:
            if Reference.parse(brought.ref).tagged != brought.ref:
                raise InvalidManifest(f"{LISTING}: {brought.ref!r} is not name:tag")
        return bundle

    def same_content(self, other: Bundle) -> bool:
        """Whether only id, date and tool differ."""
        return self.refs == other.refs and self.files == other.files

    def to_json(self) -> dict[str, Any]:
        """The JSON value."""
        return self.model_dump(mode="json")


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
