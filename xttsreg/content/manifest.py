"""OCI image manifests and indexes. Source: OCI image-spec v1.1, manifest.md and image-index.md."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import FailFast, Field, ValidationError

from xttsreg.content.canonical import MAX_INDEX_BYTES, dump_canonical, load_strict
from xttsreg.content.descriptor import REF_NAME, Descriptor, Document, explain
from xttsreg.content.digest import Digest
from xttsreg.content.paths import check_distinct_paths, check_relative_path
from xttsreg.errors import InvalidManifest, NewerFormat

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY_BYTES = b"{}"
SCHEMA_VERSION = 2

D = TypeVar("D", bound=Document)


def parse_document(model: type[D], value: dict[str, Any], what: str) -> D:
    """Validate a JSON object as a document.

    Raises:
        InvalidManifest: names the thing and the fields that are wrong.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidManifest(f"{what}: {explain(error)}") from None


def _versioned(value: dict[str, Any], what: str) -> dict[str, Any]:
    """Both formats want their version; without it, any JSON object would be an empty index."""
    version = value.get("schemaVersion")
    if version is None:
        raise InvalidManifest(f"{what}: has no schemaVersion")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NewerFormat(
            f"{what}: has schema version {version}, this xttsreg reads {SCHEMA_VERSION}",
            hint="use the xttsreg that it was made with, or a newer one",
        )
    return value


class Manifest(Document):
    """What a tag points at: a configuration blob and an ordered list of layers.

    ``Manifest.parse(m.to_bytes()) == m``.
    """

    schema_version: Literal[2] = Field(default=2, alias="schemaVersion")
    media_type: Literal["application/vnd.oci.image.manifest.v1+json"] = Field(
        default=MANIFEST_TYPE, alias="mediaType"
    )
    artifact_type: str | None = Field(default=None, alias="artifactType")
    config: Descriptor
    layers: Annotated[tuple[Descriptor, ...], FailFast()]
    subject: Descriptor | None = None
    annotations: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes, what: str = "manifest") -> Manifest:
        """Parse foreign bytes.

        Raises:
            NewerFormat: of a later version; nothing else of it was read.
            InvalidManifest: malformed, or another kind of document.
        """
        return parse_document(cls, _versioned(load_strict(data, what=what), what), what)

    def to_json(self) -> dict[str, Any]:
        """The JSON value; nested descriptors leave out what is absent."""
        value = super().to_json()
        value["config"] = self.config.to_json()
        value["layers"] = [layer.to_json() for layer in self.layers]
        if self.subject:
            value["subject"] = self.subject.to_json()
        if not self.annotations:
            value.pop("annotations", None)
        return value

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return dump_canonical(self.to_json())

    def describe(self) -> Descriptor:
        """The descriptor of this manifest's canonical bytes."""
        data = self.to_bytes()
        return Descriptor(
            media_type=self.media_type,
            digest=Digest.of(data),
            size_bytes=len(data),
            artifact_type=self.artifact_type,
        )

    def blobs(self) -> tuple[Descriptor, ...]:
        """Configuration and layers, each digest once."""
        unique = {d.digest: d for d in (*self.layers, self.config)}
        return tuple(unique.values())

    def files(self) -> dict[str, Descriptor]:
        """File name to layer, for the layers that are files.

        Raises:
            UnsafePath: a name is unsafe, or two names fall together where case does not count.
        """
        named = [(layer.file_path, layer) for layer in self.layers if layer.file_path]
        files = [(check_relative_path(path), layer) for path, layer in named if path]
        check_distinct_paths(path for path, _ in files)
        return dict(files)

    @property
    def size_bytes(self) -> int:
        """Sum over the layers' sizes, each digest once."""
        return sum(d.size_bytes for d in {layer.digest: layer for layer in self.layers}.values())


class Index(Document):
    """``index.json`` of a layout: every manifest that is held, the tagged ones with their tag."""

    schema_version: Literal[2] = Field(default=2, alias="schemaVersion")
    media_type: Literal["application/vnd.oci.image.index.v1+json"] | None = Field(
        default=INDEX_TYPE, alias="mediaType"
    )
    manifests: Annotated[tuple[Descriptor, ...], FailFast()] = ()
    annotations: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes, what: str = "index.json") -> Index:
        """Parse foreign bytes.

        Raises:
            NewerFormat: of a later version; nothing else of it was read.
            InvalidManifest: malformed.
        """
        value = load_strict(data, what=what, limit_bytes=MAX_INDEX_BYTES)
        return parse_document(cls, _versioned(value, what), what)

    def to_bytes(self) -> bytes:
        """Canonical JSON, entries in a stable order."""
        value = self.to_json()
        entries = [entry.to_json() for entry in self.manifests]
        value["manifests"] = sorted(entries, key=dump_canonical)
        if not self.annotations:
            value.pop("annotations", None)
        return dump_canonical(value)

    def find(self, tagged: str) -> Descriptor | None:
        """The entry with this tag, e.g. ``xtts_v2:main``."""
        for entry in self.manifests:
            if entry.annotations.get(REF_NAME) == tagged:
                return entry
        return None

    def tags(self) -> dict[str, Descriptor]:
        """Tag to entry, sorted by tag."""
        named = {entry.annotations[REF_NAME]: entry for entry in self.manifests
                 if REF_NAME in entry.annotations}  # fmt: skip
        return dict(sorted(named.items()))

    def with_tag(self, tagged: str, manifest: Descriptor) -> Index:
        """A copy in which this tag points at this manifest."""
        entry = manifest.with_ref(tagged)
        kept = [e for e in self.manifests if e.annotations.get(REF_NAME) != tagged]
        # An untagged entry of the same manifest has done its work once a tag holds it.
        kept = [e for e in kept if e.digest != entry.digest or REF_NAME in e.annotations]
        return self.model_copy(update={"manifests": (*kept, entry)})

    def without_tag(self, tagged: str) -> Index:
        """A copy without this tag."""
        kept = tuple(e for e in self.manifests if e.annotations.get(REF_NAME) != tagged)
        return self.model_copy(update={"manifests": kept})

    def with_untagged(self, manifest: Descriptor) -> Index:
        """A copy that holds this manifest, under no name if it has none yet."""
        if any(e.digest == manifest.digest for e in self.manifests):
            return self
        entry = manifest.with_ref(None)
        return self.model_copy(update={"manifests": (*self.manifests, entry)})

    def without_digest(self, digest: Digest) -> Index:
        """A copy without any entry of this manifest."""
        kept = tuple(e for e in self.manifests if e.digest != digest)
        return self.model_copy(update={"manifests": kept})
