"""What a store has bundled: the same bundle keeps its name, and the numbers only rise.

Kept in the store's state, not read from sticks: a number that a stranger wrote onto a stick must
not come back under our signature.
"""

from __future__ import annotations

import datetime
import time
import uuid
from pathlib import Path

from xttsreg.content.bundle import Bundle
from xttsreg.content.canonical import dump_canonical
from xttsreg.content.digest import Digest
from xttsreg.errors import XttsregError
from xttsreg.stores import durable
from xttsreg.stores.layout import LayoutStore

_DIRECTORY = "bundles"
_LATEST = "latest.json"


def issue(store: LayoutStore, bundle: Bundle, *, held: str | None) -> Bundle:
    """Give a draft its name: the one that these contents had before, or a new one.

    An old name comes back only if nothing was bundled since, if the medium has that very bundle
    already (``held`` is its id), or if there are other volumes of it: its number is lower than
    that of what came later, and the other side may refuse to go back.

    Args:
        store: Where the bundle is made; one that cannot be written to remembers nothing.
        bundle: From `plan.draft`.
        held: What the medium says that it has.
    """
    if not store.is_writable():
        return _named(bundle, latest=None)
    key = Digest.of(dump_canonical({**bundle.to_json(), "tool": ""})).hex
    with store.locked():
        directory = store.state / _DIRECTORY
        latest, known = _read(directory / _LATEST), _read(directory / f"{key}.json")
        if known and latest and (known == latest or known.bundle_id == held or known.volumes > 1):
            return known
        named = _named(bundle, latest=latest)
        data = dump_canonical(named.to_json())
        with durable.disk_errors(directory):
            durable.make_directory(directory)
            for name in (_LATEST, f"{key}.json"):  # in this order: no number is given out twice
                durable.write_atomic(directory / name, data, temporary=directory / f"{name}.tmp")
    return named


def _named(bundle: Bundle, *, latest: Bundle | None) -> Bundle:
    now = datetime.datetime.now(datetime.timezone.utc)
    return bundle.model_copy(
        update={
            "bundle_id": str(uuid.uuid4()),
            # Seconds since 1970 rise also when the store, and its memory with it, was lost.
            "sequence": max(latest.sequence + 1 if latest else 1, int(time.time())),
            "previous": latest.bundle_id if latest else None,
            "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )


def _read(path: Path) -> Bundle | None:
    try:
        return Bundle.parse(path.read_bytes())
    except (OSError, XttsregError):
        return None  # a memory that is lost costs a new name
