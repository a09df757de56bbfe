"""Who shares what, and who comes from whom: worked out once for each state of the store."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from xttsreg.content.artifacts import BASE, DATASET
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidInputError
from xttsreg.serve.shelf import Item, Snapshot

RUN_VOICE = "io.xttsreg.run.voice"


@dataclass(frozen=True, slots=True)
class Size:
    """How much an item takes.

    Attributes:
        whole_bytes: All its files.
        own_bytes: What no other item has: what would be free without it.
    """

    whole_bytes: int
    own_bytes: int


@dataclass(slots=True)
class Census:
    """One snapshot, counted.

    Attributes:
        stored_bytes: Every blob once: what is on the disk.
        named_bytes: The sum over all items: what it would be without sharing.
        sizes: By manifest digest.
        users: Number of manifests that have a blob.
        heirs: Digest of a base or dataset to the items made from it.
    """

    stored_bytes: int = 0
    named_bytes: int = 0
    sizes: dict[Digest, Size] = field(default_factory=dict)
    users: Counter[Digest] = field(default_factory=Counter)
    heirs: dict[Digest, list[Item]] = field(default_factory=lambda: defaultdict(list))


def take_census(snapshot: Snapshot) -> Census:
    """Count a snapshot."""
    census = Census()
    distinct = {digest: items[0] for digest, items in snapshot.names.items()}
    stored: dict[Digest, Descriptor] = {}
    for item in distinct.values():
        blobs = {blob.digest: blob for blob in item.manifest.blobs()}
        stored.update(blobs)
        census.users.update(blobs.keys())
        census.named_bytes += sum(blob.size_bytes for blob in blobs.values())
        for parent in {base_digest(item), dataset_digest(item)} - {None}:
            assert parent
            census.heirs[parent].append(item)
    for digest, item in distinct.items():
        layers = {layer.digest: layer.size_bytes for layer in item.manifest.layers}
        own = sum(size for blob, size in layers.items() if census.users[blob] == 1)
        census.sizes[digest] = Size(sum(layers.values()), own)
    census.stored_bytes = sum(blob.size_bytes for blob in stored.values())
    return census


def base_of(item: Item) -> Reference | None:
    """What an item was trained from, as its manifest says."""
    try:
        return Reference.parse(item.manifest.annotations[BASE])
    except (KeyError, InvalidInputError):
        return None


def base_digest(item: Item) -> Digest | None:
    """Digest of what an item was trained from."""
    base = base_of(item)
    return base.digest if base else None


def dataset_digest(item: Item) -> Digest | None:
    """Digest of the data that an item was trained with."""
    try:
        return Digest(item.manifest.annotations.get(DATASET, ""))
    except InvalidInputError:
        return None
