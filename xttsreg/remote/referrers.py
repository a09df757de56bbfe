"""What speaks about a manifest in a registry: acceptances of terms, for one.

Source: OCI distribution-spec v1.1, "Listing Referrers" and "Pushing Manifests with Subject".
Registries without the referrers API want the client to keep an index under the tag
``sha256-<hex>`` of the subject.
"""

from __future__ import annotations

from collections.abc import Callable

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import INDEX_TYPE, MANIFEST_TYPE, Index, Manifest
from xttsreg.errors import InvalidManifest, TagNotFound
from xttsreg.remote.connection import MANIFEST_LIMIT_BYTES, Connection

GetManifest = Callable[[str], bytes]
"""Bytes of the manifest of a tag or digest, proven; raises TagNotFound."""
PutManifest = Callable[[str, str, bytes], None]
"""Takes tag or digest, media type and bytes."""


class Referrers:
    """The referrers of one repository.

    Args:
        connection: To the repository.
        get: Reads a manifest.
        put: Writes one.
    """

    def __init__(self, connection: Connection, get: GetManifest, put: PutManifest) -> None:
        self._connection, self._get, self._put = connection, get, put

    def add(self, manifest: Descriptor) -> None:
        """Make a manifest that is there findable by its subject, if it has one.

        Raises:
            TagNotFound: it is not there.
        """
        parsed = Manifest.parse(self._get(manifest.digest), manifest.digest.short)
        if not parsed.subject or self._from_api(parsed.subject.digest) is not None:
            return
        tag = _tag_of(parsed.subject.digest)
        entry = Descriptor(
            media_type=manifest.media_type,
            digest=manifest.digest,
            size_bytes=manifest.size_bytes,
            artifact_type=parsed.artifact_type or parsed.config.media_type,
            annotations=parsed.annotations,
        )
        index = self._from_tag(tag)
        if all(known.digest != entry.digest for known in index.manifests):
            grown = index.model_copy(update={"manifests": (*index.manifests, entry)})
            self._put(tag, INDEX_TYPE, grown.to_bytes())

    def of(self, subject: Digest) -> list[tuple[Descriptor, Manifest]]:
        """The manifests in this repository that speak about another one."""
        index = self._from_api(subject)
        if index is None:
            index = self._from_tag(_tag_of(subject))
        found = []
        for entry in index.manifests:
            if entry.media_type == MANIFEST_TYPE:
                bare = entry.model_copy(update={"annotations": {}})
                manifest = Manifest.parse(self._get(entry.digest), entry.digest.short)
                if manifest.subject and manifest.subject.digest == subject:
                    found.append((bare, manifest))
        return found

    def _from_api(self, subject: Digest) -> Index | None:
        """What the registry's own list says; None if it keeps none."""
        url = self._connection.url(f"referrers/{subject}")
        with self._connection.ask("GET", url, ok=(200, 404)) as answer:
            if answer.status_code == 404:
                return None
            data = answer.raw.read(MANIFEST_LIMIT_BYTES, decode_content=True)
            return Index.parse(data, "referrers")

    def _from_tag(self, tag: str) -> Index:
        try:
            return Index.parse(self._get(tag), tag)
        except (TagNotFound, InvalidManifest):
            return Index()


def _tag_of(subject: Digest) -> str:
    return subject.replace(":", "-")
