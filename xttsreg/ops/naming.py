"""Names in a store do not move in silence: what one meant before could be lost at the next gc."""

from __future__ import annotations

from collections.abc import Mapping

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import ENVIRONMENT_TYPE, word_for
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.manifest import MANIFEST_TYPE
from xttsreg.content.reference import Reference
from xttsreg.errors import AlreadyExists, InvalidInputError
from xttsreg.stores.base import Source, Store, read_manifest


def require_new_name(reference: Reference, catalog: Catalog) -> None:
    """Make sure that something of the user's own may be called this.

    Raises:
        InvalidInputError: the name has a digest, or is one of the catalogue's.
    """
    require_no_digest(reference)
    if catalog.find(reference):
        raise InvalidInputError(
            f"{reference.tagged}: the catalogue has a weight set of this name",
            hint="give another name",
        )


def require_no_digest(reference: Reference) -> None:
    """Make sure that a new thing is not given a digest.

    Raises:
        InvalidInputError: it is.
    """
    if reference.digest:
        raise InvalidInputError(
            f"{reference}: add makes the digest, and takes none", hint=f"give {reference.tagged}"
        )


def require_same_meaning(store: Store, reference: Reference, entry: Descriptor) -> None:
    """Make sure that a name is free, or means this already.

    Raises:
        AlreadyExists: it means something else; says what.
    """
    existing = store.tags().get(reference.tagged)
    if existing is None or existing.digest == entry.digest:
        return
    what = "something"
    if existing.media_type == MANIFEST_TYPE:
        what = word_for(read_manifest(store, existing))
    raise AlreadyExists(
        f"{reference.tagged}: exists already, as {what} with other files",
        hint="give another name or tag; --force moves this one",
    )


def require_same_names(store: Source, tags: Mapping[str, Descriptor], place: str) -> None:
    """`require_same_meaning`, for all names that a copy brings.

    A Python environment is named by the machines that it is for: a newer one takes the name.

    Args:
        store: Where they come to.
        tags: ``name:tag`` to manifest.
        place: Where they come from, for the message.

    Raises:
        AlreadyExists: a name means something else in the store than in ``place``.
    """
    here = store.tags()
    for tagged, entry in tags.items():
        if tagged in here and here[tagged].digest != entry.digest:
            if here[tagged].artifact_type == entry.artifact_type == ENVIRONMENT_TYPE:
                continue
            raise AlreadyExists(
                f"{tagged}: is {here[tagged].digest.short} in the store and "
                f"{entry.digest.short} in {place}",
                hint=f"`xttsreg tag {tagged} NEW` keeps the old one under another name; "
                "then repeat with --force",
            )
