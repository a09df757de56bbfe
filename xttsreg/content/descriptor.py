"""Descriptors: media type, digest and size of a blob. Source: OCI image-spec, descriptor.md."""

from __future__ import annotations

from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from xttsreg.content.digest import Digest

# Annotation keys that we write or read. OCI: image-spec annotations.md; CNCF: model-spec.
REF_NAME = "org.opencontainers.image.ref.name"
TITLE = "org.opencontainers.image.title"
CREATED = "org.opencontainers.image.created"
FILE_PATH = "org.cncf.model.filepath"


class Document(BaseModel):
    """Base of everything that is JSON on disk: immutable, and keeps fields it does not know.

    Foreign fields survive a round trip, since OCI asks readers to accept them and because a
    manifest that lost a field would have another digest.
    """

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    @model_serializer(mode="wrap")
    def _with_foreign_nulls(self, known: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is absent is left out, but for a null that somebody else wrote: that is a field."""
        value: dict[str, Any] = known(self)
        foreign = {name: None for name, field in (self.model_extra or {}).items() if field is None}
        return {**value, **foreign}

    def to_json(self) -> dict[str, Any]:
        """The JSON value, with the field names of the format and without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Descriptor(Document):
    """Points at a blob.

    Attributes:
        media_type: What the blob is.
        digest: sha256 of its bytes.
        size_bytes: Its length; JSON name ``size``.
        artifact_type: For manifests, what they describe.
        annotations: In ``index.json``: the tag. In a manifest's layers: the file name.
    """

    media_type: str = Field(alias="mediaType", min_length=1, max_length=255)
    digest: Digest
    size_bytes: int = Field(alias="size", ge=0, le=2**63 - 1, strict=True)
    artifact_type: str | None = Field(default=None, alias="artifactType")
    annotations: dict[str, str] = Field(default_factory=dict)

    @property
    def file_path(self) -> str | None:
        """The file name that this layer stands for, unchecked; ``None`` for other blobs."""
        return self.annotations.get(FILE_PATH) or self.annotations.get(TITLE)

    def with_ref(self, tagged: str | None) -> Descriptor:
        """A copy that carries this tag, or none."""
        kept = {k: v for k, v in self.annotations.items() if k != REF_NAME}
        if tagged is not None:
            kept[REF_NAME] = tagged
        return self.model_copy(update={"annotations": kept})

    def to_json(self) -> dict[str, Any]:
        """The JSON value; an empty annotations map is left out."""
        value = super().to_json()
        if not self.annotations:
            value.pop("annotations", None)
        return value


def explain(error: ValidationError) -> str:
    """Pydantic's complaints on one line, at most three of them."""
    lines = [
        ".".join(str(part) for part in item["loc"]) + ": " + item["msg"]
        for item in error.errors(include_url=False, include_input=False)
    ]
    more = f" (and {len(lines) - 3} more)" if len(lines) > 3 else ""
    return "; ".join(lines[:3]) + more
