"""Terms and who accepted them.

An acceptance is a small manifest of its own whose ``subject`` is the weight set's manifest (an OCI
referrer). So the set keeps one digest for everybody, and a yes holds for exactly that set: another
revision or another licence text is another digest.
"""

from __future__ import annotations

import datetime
import getpass
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xttsreg.catalog import Catalog, WeightSet
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.manifest import Manifest
from xttsreg.content.modelpack import LICENSE_FILE, LICENSE_TERMS, LICENSES, REVISION
from xttsreg.errors import LicenseNotAccepted
from xttsreg.ops.notes import hold_note
from xttsreg.stores.base import Source, Store

ACCEPTANCE_TYPE = "application/vnd.xttsreg.license.acceptance.v1+json"
_BY = "io.xttsreg.license.accepted-by"
_AT = "io.xttsreg.license.accepted-at"
_HOW = "io.xttsreg.license.accepted-how"
_DIGEST = "io.xttsreg.license.digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What somebody is asked to accept.

    Attributes:
        what: The weight set, for people.
        license_name: E.g. ``Coqui Public Model License 1.0``.
        summary: Up to three lines.
    """

    what: str
    license_name: str
    summary: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Somebody's yes.

    Attributes:
        by: User name.
        at: RFC 3339, UTC.
        how: ``prompt``, ``--accept-license`` or the name of an environment variable.
    """

    by: str
    at: str
    how: str


Ask = Callable[[Terms], str | None]
"""Gets a yes: returns how it was given, or None for no. Must not block without a terminal."""


def terms_for(what: str, manifest: Manifest, catalog: Catalog) -> Terms:
    """The terms of a set in a store: those of the catalogued set with the same licence text."""
    digest = _license_digest(manifest)
    for item in catalog.sets().values():
        pinned = item.file(item.license.path)
        if pinned and pinned.layer.digest == digest:
            return terms_of(what, item)
    return Terms(what=what, license_name=manifest.annotations.get(LICENSES, "no licence named"))


def terms_of(what: str, item: WeightSet) -> Terms:
    """The terms of a catalogued set, for people."""
    return Terms(what=what, license_name=item.license.name, summary=item.license.summary)


def accepted_now(how: str) -> Acceptance:
    """The current user's yes, at this moment."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return Acceptance(
        by=current_user(),
        at=now.isoformat().replace("+00:00", "Z"),
        how=how,
    )


def current_user() -> str:
    """Who works here: ``XTTSREG_USER``, or the login name."""
    try:
        return os.environ.get("XTTSREG_USER") or getpass.getuser()
    except (OSError, KeyError):  # a container user without a name
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def is_required(manifest: Manifest) -> bool:
    """Whether the set's terms want a yes."""
    return manifest.annotations.get(LICENSE_TERMS) == "required"


def find_acceptance(store: Source, entry: Descriptor, manifest: Manifest) -> Acceptance | None:
    """The yes to exactly this set, if the store has one."""
    license_digest = _license_digest(manifest)
    for _, referrer in store.referrers(entry.digest):
        notes = referrer.annotations
        if referrer.artifact_type == ACCEPTANCE_TYPE and notes.get(_DIGEST) == license_digest:
            return Acceptance(by=notes.get(_BY, ""), at=notes.get(_AT, ""), how=notes.get(_HOW, ""))
    return None


def obtain(
    store: Store, entry: Descriptor, manifest: Manifest, terms: Terms, ask: Ask
) -> Acceptance | None:
    """The yes to this set: the one in the store, or a new one. None if none is needed.

    A new one still has to be written with `record`, once the set is in the store.

    Raises:
        LicenseNotAccepted: nobody said yes.
    """
    if not is_required(manifest):
        return None
    found = find_acceptance(store, entry, manifest)
    if found:
        return found
    how = ask(terms)
    if how is None:
        raise LicenseNotAccepted(
            f"{terms.what}: the terms ({terms.license_name}) have not been accepted",
            hint="read them, then repeat with --accept-license (or set COQUI_TOS_AGREED=1)",
        )
    return accepted_now(how)


def record(store: Store, entry: Descriptor, manifest: Manifest, acceptance: Acceptance) -> None:
    """Write a yes into the store, unless it holds one for this set already."""
    if find_acceptance(store, entry, manifest):
        return
    told = {
        _BY: acceptance.by,
        _AT: acceptance.at,
        _HOW: acceptance.how,
        _DIGEST: _license_digest(manifest),
        LICENSES: manifest.annotations.get(LICENSES, ""),
        REVISION: manifest.annotations.get(REVISION, ""),
    }
    hold_note(store, entry, ACCEPTANCE_TYPE, told)


def require(store: Store, entry: Descriptor, manifest: Manifest, terms: Terms, ask: Ask) -> None:
    """`obtain`, and `record` at once: for sets that are in the store already.

    Raises:
        LicenseNotAccepted: nobody said yes.
    """
    acceptance = obtain(store, entry, manifest, terms, ask)
    if acceptance:
        record(store, entry, manifest, acceptance)


def _license_digest(manifest: Manifest) -> str:
    layer = manifest.files().get(LICENSE_FILE)
    return str(layer.digest) if layer else ""
