"""Notes: small manifests that speak about another one by ``subject`` (OCI referrers)."""

from __future__ import annotations

from collections.abc import Mapping

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.manifest import EMPTY_BYTES, EMPTY_TYPE, MANIFEST_TYPE, Manifest
from xttsreg.stores.base import Store


def hold_note(
    store: Store, subject: Descriptor, artifact_type: str, annotations: Mapping[str, str]
) -> None:
    """Write a note about a manifest, beside it: its digest stays what it is.

    Args:
        store: Where both are.
        subject: What the note is about.
        artifact_type: What kind of note it is.
        annotations: What it says.
    """
    empty = store.put_bytes(EMPTY_TYPE, EMPTY_BYTES)
    note = Manifest(
        artifact_type=artifact_type,
        config=empty,
        layers=(empty,),
        subject=subject.with_ref(None),
        annotations=dict(annotations),
    )
    store.put_bytes(MANIFEST_TYPE, note.to_bytes())
    store.hold(note.describe())
