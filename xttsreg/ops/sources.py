"""Where a dataset comes from: a directory of this machine, or the store."""

from __future__ import annotations

from pathlib import Path

from xttsreg.content.artifacts import kind_of, require_kind
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import MANIFEST_TYPE, Manifest
from xttsreg.content.reference import Reference
from xttsreg.errors import (
    BlobNotFound,
    IntegrityError,
    InvalidDataset,
    InvalidInputError,
    InvalidManifest,
    InvalidReference,
    NewerFormat,
    TagNotFound,
)
from xttsreg.stores.base import Store, read_manifest, resolve


def find_dataset(store: Store | None, text: str) -> Path | Reference:
    """What somebody means by ``--dataset``.

    ``/x``, ``./x``, ``../x``, ``~x`` and ``x/`` are directories, whether they are there or not.
    Anything else is a directory if it is one, or a name in the store if that has it.

    Args:
        store: Where names are looked up; None if there is none.
        text: What the user gave.

    Raises:
        InvalidInputError: it is both; says how to write either.
        InvalidDataset: it is neither.
    """
    path = Path(text)
    if text.startswith((".", "~")) or text.endswith(("/", "\\")) or path.is_absolute():
        return path
    reference = _in_store(store, text)
    is_dataset = False
    if store is not None and reference is not None:
        is_dataset = kind_of(read_manifest(store, resolve(store, reference))) == "dataset"
    if path.is_dir():
        if reference is None or not is_dataset:
            return path
        exact = Reference(reference.name, reference.tag)
        either = f"{exact}" if str(exact) != text else "the name with @ and its digest"
        raise InvalidInputError(
            f"{text}: is a directory here, and a dataset in the store",
            hint=f"./{text} means the directory, {either} the dataset",
        )
    if reference is not None:
        return reference
    raise InvalidDataset(
        f"{text}: neither a directory nor a dataset in the store",
        hint="`xttsreg ls` shows what is in the store; `xttsreg add NAME DIR --dataset` and "
        "`xttsreg import` bring one",
    )


def _in_store(store: Store | None, text: str) -> Reference | None:
    if store is None:
        return None
    try:
        reference = Reference.parse(text)
        resolve(store, reference)
    except (InvalidReference, TagNotFound):
        return None
    return reference


def load_dataset(store: Store, reference: Reference) -> tuple[Reference, Descriptor, Manifest]:
    """Resolve and read a dataset; the reference comes back with its digest.

    Raises:
        TagNotFound, BlobNotFound, IntegrityError: it is not there, or not right.
        InvalidModel: it is no dataset.
    """
    entry = resolve(store, reference)
    manifest = read_manifest(store, entry)
    require_kind(reference, manifest, "dataset")
    return Reference(reference.name, reference.tag, entry.digest), entry, manifest


def find_by_digest(store: Store, digest: Digest) -> Reference | None:
    """A name that the store has for a dataset of this digest."""
    for tagged, entry in store.tags().items():
        if entry.digest != digest or entry.media_type != MANIFEST_TYPE:
            continue
        try:
            reference = Reference.parse(f"{tagged}@{digest}")
            if kind_of(read_manifest(store, entry)) == "dataset":
                return reference
        except (BlobNotFound, IntegrityError, InvalidManifest, InvalidReference, NewerFormat):
            continue  # what cannot be read is not what is looked for; `verify` names it
    return None
