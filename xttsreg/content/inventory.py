"""What a store has, on one page: so that the other side can send only what is missing."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import FailFast, Field

from xttsreg.content.canonical import MAX_INDEX_BYTES, load_strict
from xttsreg.content.descriptor import Document
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import parse_document
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidManifest, NewerFormat

FORMAT_VERSION = 1
WHAT = "inventory"


class InventoryRef(Document):
    """One name.

    Attributes:
        ref: ``name:tag``.
        digest: Of its manifest.
        size_bytes: Of all its files.
    """

    ref: str
    digest: Digest
    size_bytes: int = Field(ge=0, strict=True)


class Inventory(Document):
    """The document.

    Attributes:
        format_version: Of this document.
        created: RFC 3339, UTC.
        tool: Who wrote it.
        refs: The names, for people.
        blobs: Every blob that a name needs and that is there and right, with its size in bytes.
    """

    format_version: int = Field(ge=1, strict=True)
    created: str
    tool: str
    refs: Annotated[tuple[InventoryRef, ...], FailFast()]
    blobs: dict[Digest, Annotated[int, Field(ge=0, strict=True)]]

    @classmethod
    def parse(cls, data: bytes) -> Inventory:
        """Parse foreign bytes. ``Inventory.parse(i.to_bytes()) == i``.

        Raises:
            NewerFormat: written by a later version; nothing else of it was read.
            InvalidManifest: malformed.
        """
        value = load_strict(data, what=WHAT, limit_bytes=MAX_INDEX_BYTES)
        version = value.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise NewerFormat(
                f"the inventory has format version {version}, this xttsreg reads {FORMAT_VERSION}",
                hint="use the xttsreg that the inventory was made with, or a newer one",
            )
        inventory = parse_document(cls, value, WHAT)
        for named in inventory.refs:
            if Reference.parse(named.ref).tagged != named.ref:
                raise InvalidManifest(f"{WHAT}: {named.ref!r} is not name:tag")
        return inventory

    def to_json(self) -> dict[str, Any]:
        """The JSON value."""
        return self.model_dump(mode="json")

    def to_bytes(self) -> bytes:
        """Canonical, but in lines: people read it, and a diff of two says what has changed."""
        text = json.dumps(
            self.to_json(), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False
        )
        return f"{text}\n".encode()
