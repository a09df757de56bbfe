"""Names in a store do not move in silence: what one meant before could be lost at the next gc."""

from __future__ import annotations

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import word_for
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.manifest import MANIFEST_TYPE
from xttsreg.content.reference import Reference
from xttsreg.errors import AlreadyExists, InvalidInputError
from xttsreg.stores.base import Store, read_manifest


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
