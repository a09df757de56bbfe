"""Store to stick: an OCI layout that ``sha256sum -c`` and any OCI tool read. Plan, then write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import xttsreg
from xttsreg.content.bundle import LISTING, Bundle
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.inventory import Inventory
from xttsreg.errors import XttsregError
from xttsreg.ops import plan
from xttsreg.ops.copy import select
from xttsreg.ops.issued import issue
from xttsreg.ops.parts import digest_parts
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.ops.signing import BUNDLE_NAMESPACE, SigningKey
from xttsreg.ops.smallfiles import small_files
from xttsreg.ops.spread import Limits
from xttsreg.ops.stick import require_ours
from xttsreg.ops.thin import omit
from xttsreg.ops.writing import Sign, Written, write_volume
from xttsreg.stores.layout import LayoutStore


@dataclass(frozen=True, slots=True)
class Bundled:
    """What a bundle run did.

    Attributes:
        directory: The bundle.
        bundle: Its listing.
        written: What was written, and what was there already.
    """

    directory: Path
    bundle: Bundle
    written: Written


def bundle(
    store: LayoutStore,
    tags: Mapping[str, Descriptor],
    directory: Path,
    *,
    key: SigningKey | None = None,
    since: Inventory | None = None,
    thin: bool = False,
    progress: Progress = QUIET,
) -> Bundled:
    """Write a bundle of these tags, or bring the one that is there up to date.

    Args:
        store: Where from.
        tags: What.
        directory: Where to.
        key: Signs it.
        since: What the other side has: it is left out.
        thin: Also leave out what belongs to the bases of the voices and runs.
        progress: Watches.

    Raises:
        InvalidInputError: the directory holds something else than a bundle.
        SigningFailed: the key could not be used; nothing was written.
        InsufficientSpace, ReadOnlyMedia: the medium cannot take it.
        IntegrityError: a blob of the store is damaged.
    """
    require_ours(directory, store)
    with store.reading():
        selection = select(store, tags)
        small = small_files(store, selection)
        omitted = omit(store, selection, since=since, thin=thin)
        unnamed = plan.draft(
            selection,
            small,
            limits=Limits(),
            tool=f"xttsreg {xttsreg.__version__}",
            digest_parts=lambda blob, sizes: digest_parts(store, blob, sizes),
            absent=omitted.digests,
            based_on=omitted.based_on,
        )
        listing = issue(store, unnamed, held=_held(directory))
        planned = plan.complete(listing, selection, small)
        written = write_volume(store, planned, 1, directory, sign=_signing(key), progress=progress)
    return Bundled(directory, listing, written)


def _signing(key: SigningKey | None) -> Sign | None:
    if key is None:
        return None
    return lambda sums, before: key.sign_again(sums, before, BUNDLE_NAMESPACE)


def _held(directory: Path) -> str | None:
    """The id of the bundle that lies there already, as it says itself."""
    try:
        return Bundle.parse((directory / LISTING).read_bytes()).bundle_id
    except (OSError, XttsregError):
        return None
