"""The newest bundle of each signer that a store has taken in, so that none is replayed.

An old bundle has a right signature for ever. Whoever can swap sticks could bring back weights that
were replaced for a reason; the sequence number, which is signed, tells.
"""

from __future__ import annotations

from xttsreg.content.canonical import dump_canonical, load_strict
from xttsreg.content.descriptor import Document
from xttsreg.content.manifest import parse_document
from xttsreg.errors import InvalidManifest, OlderBundle, StoreError
from xttsreg.ops.signing import Signer
from xttsreg.stores import durable
from xttsreg.stores.layout import LayoutStore

FILE = "received.json"


class Received(Document):
    """The newest bundle of one signer.

    Attributes:
        sequence: Its number.
        bundle_id: Its id.
        created: RFC 3339, UTC, as the bundle says.
    """

    sequence: int
    bundle_id: str
    created: str


class _Record(Document):
    """The file. ``signers``: by fingerprint of the key, whatever name the trust file gives it."""

    signers: dict[str, Received] = {}


def require_newest(store: LayoutStore, signer: Signer, bundle: Received) -> None:
    """Make sure that this bundle is the newest of its signer, or newer.

    Raises:
        OlderBundle: a newer one came before, or another one with the same number.
        StoreError: the record cannot be read; nobody can say then.
    """
    newest = _read(store).signers.get(signer.fingerprint)
    if newest is None or bundle.sequence > newest.sequence:
        return
    if bundle.sequence == newest.sequence and bundle.bundle_id == newest.bundle_id:
        return
    raise OlderBundle(
        f"bundle {bundle.bundle_id} of {bundle.created} (number {bundle.sequence}) is older than "
        f"{newest.bundle_id} of {newest.created} (number {newest.sequence}), which {signer} "
        "sent before",
        hint="somebody may have swapped sticks; if you want the older one, add --allow-older",
    )


def record(store: LayoutStore, signer: Signer, bundle: Received) -> None:
    """Remember this bundle, unless a newer one of its signer is known. Durable when it returns.

    Raises:
        StoreError: the record cannot be read or written.
    """
    with store.locked(), durable.disk_errors(store.root):
        known = _read(store).signers
        newest = known.get(signer.fingerprint)
        if newest is not None and newest.sequence >= bundle.sequence:
            return
        changed = _Record(signers={**known, signer.fingerprint: bundle})
        path = store.state / FILE
        durable.write_atomic(
            path, dump_canonical(changed.to_json()), temporary=store.state / f"{FILE}.tmp"
        )


def _read(store: LayoutStore) -> _Record:
    path = store.state / FILE
    with durable.disk_errors(store.root):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return _Record()
    try:
        return parse_document(_Record, load_strict(data, what=FILE), FILE)
    except InvalidManifest as error:
        raise StoreError(
            f"{path}: {error.message}",
            hint="it says which bundles came before; if you remove it, older ones will be taken",
        ) from None
