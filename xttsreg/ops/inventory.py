"""The way back of knowledge: what this store has goes to the side that makes the bundles."""

from __future__ import annotations

import contextlib
import datetime
from dataclasses import dataclass
from pathlib import Path

import xttsreg
from xttsreg.content.canonical import MAX_INDEX_BYTES
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.inventory import FORMAT_VERSION, Inventory, InventoryRef
from xttsreg.content.manifest import MANIFEST_TYPE
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidInputError, XttsregError
from xttsreg.ops.parallel import Cancel, in_parallel
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.ops.signing import INVENTORY_NAMESPACE, SigningKey
from xttsreg.ops.trust import Origin, Trust
from xttsreg.stores import durable
from xttsreg.stores.base import reachable, read_manifest
from xttsreg.stores.layout import LayoutStore


@dataclass(frozen=True, slots=True)
class Taken:
    """An inventory, and what is not in it.

    Attributes:
        inventory: What is there and right.
        problems: One line each: what is absent or damaged.
    """

    inventory: Inventory
    problems: tuple[str, ...]


def take_inventory(store: LayoutStore, *, progress: Progress = QUIET) -> Taken:
    """List what the store has. Every blob is proven, or covered by the verification cache."""
    with store.reading():
        problems: list[str] = []
        needed: dict[Digest, Descriptor] = {}
        for entry in store.entries():
            try:
                needed.update(reachable(store, entry))
            except XttsregError as error:
                problems.append(error.message)
        blobs = sorted(needed.values(), key=lambda blob: blob.digest)

        def is_right(blob: Descriptor, cancel: Cancel) -> bool:
            with progress.task(blob.digest.short, blob.size_bytes) as advance:
                return store.has(blob, advance=cancel.watch(advance))

        found = list(zip(blobs, in_parallel(is_right, blobs), strict=True))
        problems += [f"blob {blob.digest}: absent or damaged" for blob, there in found if not there]
        inventory = Inventory(
            format_version=FORMAT_VERSION,
            created=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            tool=f"xttsreg {xttsreg.__version__}",
            refs=_refs(store),
            blobs={blob.digest: blob.size_bytes for blob, there in found if there},
        )
    return Taken(inventory, tuple(problems))


def _refs(store: LayoutStore) -> tuple[InventoryRef, ...]:
    found = []
    for tagged, entry in store.tags().items():
        # What other tools have put there under names that are none of ours is not for us to list.
        with contextlib.suppress(XttsregError):
            if entry.media_type == MANIFEST_TYPE and Reference.parse(tagged).tagged == tagged:
                size_bytes = read_manifest(store, entry).size_bytes
                found.append(InventoryRef(ref=tagged, digest=entry.digest, size_bytes=size_bytes))
    return tuple(found)


def write_inventory(inventory: Inventory, path: Path, *, key: SigningKey | None = None) -> None:
    """Write an inventory, and beside it ``FILE.sig`` if there is a key.

    Raises:
        SigningFailed, MissingDependency, InvalidInputError: of the key; nothing was written.
        StoreError: the disk.
    """
    data = inventory.to_bytes()
    signature = key.sign(data, INVENTORY_NAMESPACE) if key else None
    beside = signature_path(path)
    with durable.disk_errors(path):
        durable.make_directory(path.parent)
        beside.unlink(missing_ok=True)  # first: it does not belong to what comes
        for target, content in ((path, data), (beside, signature)):
            if content is not None:
                temporary = target.with_name(f"{target.name}.tmp")
                durable.write_atomic(target, content, temporary=temporary)


def read_inventory(path: Path, trust: Trust) -> tuple[Inventory, Origin]:
    """Read an inventory of the other side, and who signed it.

    Raises:
        InvalidInputError: no such file, or malformed.
        SignatureMissing, SignatureInvalid, MissingDependency: as `Trust.authenticate`.
    """
    data = _read(path)
    if data is None:
        raise InvalidInputError(
            f"{path}: no such file", hint="`xttsreg inventory -o FILE` on the other side writes it"
        )
    signature = _read(signature_path(path))
    origin = trust.authenticate(data, signature, INVENTORY_NAMESPACE, what=str(path))
    return Inventory.parse(data), origin


def signature_path(path: Path) -> Path:
    """Where the signature of a file lies, as ``ssh-keygen -Y sign FILE`` would put it."""
    return path.with_name(f"{path.name}.sig")


def _read(path: Path) -> bytes | None:
    if not path.is_file():
        return None
    with durable.disk_errors(path), path.open("rb") as file:
        return file.read(MAX_INDEX_BYTES + 1)
