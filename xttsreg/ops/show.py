"""What is in a store, as plain data for tables and ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xttsreg.content.artifacts import BASE, count_files, kind_of
from xttsreg.content.descriptor import CREATED, Descriptor
from xttsreg.content.environment import EnvironmentConfig
from xttsreg.content.manifest import MANIFEST_TYPE, Manifest
from xttsreg.content.modelpack import LICENSES, roles_of
from xttsreg.content.stream import read_verified
from xttsreg.ops import licensing
from xttsreg.stores.base import Store, read_manifest


def list_tags(
    store: Store, known: Mapping[str, Mapping[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """One row a tag: ref, digest, kind, size_bytes, files, base, created.

    What other tools keep in the layout and is no manifest, such as an index, is left out.

    Args:
        store: Whose.
        known: Rows of manifests that were read before, by digest; see `ops.listing`.
    """
    known = known or {}
    return [
        {**known[entry.digest], "ref": tagged}
        if entry.digest in known
        else _row(store, tagged, entry)
        for tagged, entry in store.tags().items()
        if entry.media_type == MANIFEST_TYPE
    ]


def _row(store: Store, tagged: str, entry: Descriptor) -> dict[str, Any]:
    manifest = read_manifest(store, entry)
    return {
        "ref": tagged,
        "digest": entry.digest,
        "kind": kind_of(manifest),
        "size_bytes": manifest.size_bytes,
        "files": count_files(manifest),
        "base": manifest.annotations.get(BASE),
        "created": manifest.annotations.get(CREATED),
    }


def describe(store: Store, tagged: str, entry: Descriptor) -> dict[str, Any]:
    """Everything about one manifest."""
    manifest = read_manifest(store, entry)
    if kind_of(manifest) == "environment":
        return _describe_environment(store, tagged, entry, manifest)
    accepted = licensing.find_acceptance(store, entry, manifest)
    return {
        **_row(store, tagged, entry),
        "files": [_file(path, layer) for path, layer in manifest.files().items()],
        "license": {
            "id": manifest.annotations.get(LICENSES),
            "acceptance_required": licensing.is_required(manifest),
            "accepted_by": accepted.by if accepted else None,
            "accepted_at": accepted.at if accepted else None,
            "accepted_how": accepted.how if accepted else None,
        },
        "annotations": dict(manifest.annotations),
    }


def _describe_environment(
    store: Store, tagged: str, entry: Descriptor, manifest: Manifest
) -> dict[str, Any]:
    with store.open(manifest.config) as raw:
        config = EnvironmentConfig.parse(read_verified(raw, manifest.config))
    return {
        **_row(store, tagged, entry),
        "files": [_file(path, layer) for path, layer in manifest.files().items()],
        "environment": config.to_json(),
    }


def _file(path: str, layer: Descriptor) -> Mapping[str, Any]:
    return {
        "path": path,
        "size_bytes": layer.size_bytes,
        "digest": layer.digest,
        "roles": list(roles_of(path)),
    }
