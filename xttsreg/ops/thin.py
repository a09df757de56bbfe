"""Bundles that carry only what the other side lacks: what is left out, and whether it is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from xttsreg.content.artifacts import BASE
from xttsreg.content.bundle import Bundle, BundleRef
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.inventory import Inventory
from xttsreg.content.manifest import Manifest
from xttsreg.content.reference import Reference
from xttsreg.errors import BaseMissing, InvalidInputError, NotFoundError
from xttsreg.ops.copy import Selection
from xttsreg.ops.parallel import Cancel, in_parallel
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores.base import read_manifest, resolve
from xttsreg.stores.layout import LayoutStore

_OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Omitted:
    """What a bundle does not carry, since the other side has it.

    Attributes:
        digests: The blobs.
        based_on: For people: names on the other side that they belong to.
    """

    digests: frozenset[Digest] = frozenset()
    based_on: tuple[BundleRef, ...] = ()

    def __or__(self, other: Omitted) -> Omitted:
        """Both."""
        refs = {(ref.ref, ref.digest): ref for ref in (*self.based_on, *other.based_on)}
        return Omitted(self.digests | other.digests, tuple(refs[key] for key in sorted(refs)))


def omit(
    store: LayoutStore, selection: Selection, *, since: Inventory | None, thin: bool
) -> Omitted:
    """What a bundle of this selection leaves out.

    Args:
        store: Has the selection.
        selection: What is bundled.
        since: What the other side has, if that is known.
        thin: The other side has the bases of voices and runs.

    Raises:
        InvalidInputError, NotFoundError: as `omit_bases`.
    """
    omitted = Omitted()
    if since:
        omitted |= omit_listed(store, selection, since)
    if thin:
        omitted |= omit_bases(store, selection)
    return omitted


def omit_listed(store: LayoutStore, selection: Selection, inventory: Inventory) -> Omitted:
    """Leave out what the other side's inventory lists."""
    heavy = _heavy(selection)
    digests = frozenset(d for d, blob in heavy.items()
                        if inventory.blobs.get(d) == blob.size_bytes)  # fmt: skip
    named = [Reference.parse(f"{ref.ref}@{ref.digest}") for ref in inventory.refs]
    known = ((ref, _manifest(store, ref)) for ref in named)
    return Omitted(digests, _based_on(known, digests))


def omit_bases(store: LayoutStore, selection: Selection) -> Omitted:
    """Leave out everything that belongs to what the selected voices and runs are based on.

    Raises:
        InvalidInputError: nothing that is selected has a base.
        NotFoundError: a base is not in this store, so that nobody knows its files.
    """
    chosen = {entry.digest for entry in selection.tags.values()}
    bases = dict(_bases(store, (selection.manifests[digest] for digest in chosen)))
    if not bases:
        raise InvalidInputError(
            "--thin: nothing here is based on something else",
            hint="--thin is for voices and runs; for others, --since INVENTORY",
        )
    of_bases = {blob.digest for base in bases.values() for blob in base.blobs()}
    digests = frozenset(_heavy(selection).keys() & of_bases)
    return Omitted(digests, _based_on(bases.items(), digests))


def require_present(store: LayoutStore, bundle: Bundle, *, progress: Progress = QUIET) -> None:
    """Make sure that what a thin bundle builds on is in the store, and right.

    Raises:
        BaseMissing: something is not; says what, and what to do.
    """
    required = [Descriptor(media_type=_OCTETS, digest=blob.digest, size_bytes=blob.size_bytes)
                for blob in bundle.requires]  # fmt: skip

    def is_there(blob: Descriptor, cancel: Cancel) -> bool:
        with progress.task(f"base {blob.digest.short}", blob.size_bytes) as advance:
            return store.has(blob, advance=cancel.watch(advance))

    there = in_parallel(is_there, required)
    missing = [blob for blob, is_right in zip(required, there, strict=True) if not is_right]
    if missing:
        raise _missing(store, bundle, missing)


def _missing(store: LayoutStore, bundle: Bundle, missing: Sequence[Descriptor]) -> BaseMissing:
    size_bytes = sum(blob.size_bytes for blob in missing)
    shown = ", ".join(blob.digest.short for blob in missing[:3]) + ("..." if missing[3:] else "")
    held = {entry.digest for entry in store.entries()}
    absent = [ref for ref in bundle.based_on if ref.digest not in held][:3]
    named = ", ".join(f"{ref.ref}@{ref.digest}" for ref in absent)
    if absent:
        names = " and ".join(ref.ref for ref in absent)
        first = f"bring {names} into the store (import a bundle that has them)"
    elif bundle.based_on:  # it is here, and damaged
        first = f"`xttsreg verify {bundle.based_on[0].ref}` names what is damaged here: mend that"
    else:
        first = f"import the bundle before this one ({bundle.previous or 'of unknown id'})"
    return BaseMissing(
        f"a thin bundle: {len(missing)} of the {len(bundle.requires)} blobs that it builds on "
        f"({size_bytes} bytes) are not in {store.root}, or damaged: {shown}"
        + (f"; they belong to {named}" if named else ""),
        missing=[blob.digest for blob in missing],
        hint=f"{first}, then import this one; or have this one made with --since of a new "
        "`xttsreg inventory`",
    )


def _heavy(selection: Selection) -> dict[Digest, Descriptor]:
    """What may be left out: not manifests and their configurations, which explain the rest."""
    light = {*selection.manifests, *(m.config.digest for m in selection.manifests.values())}
    return {blob.digest: blob for blob in selection.blobs() if blob.digest not in light}


def _bases(
    store: LayoutStore, manifests: Iterable[Manifest]
) -> Iterator[tuple[Reference, Manifest]]:
    """The bases of these, and the bases of those."""
    for manifest in manifests:
        text = manifest.annotations.get(BASE)
        if text:
            reference = Reference.parse(text)
            try:
                base = read_manifest(store, resolve(store, reference))
            except NotFoundError as error:
                raise NotFoundError(
                    f"--thin: the base {reference} is not in this store",
                    hint="make the bundle without --thin, or with --since INVENTORY",
                ) from error
            yield reference, base
            yield from _bases(store, [base])


def _manifest(store: LayoutStore, reference: Reference) -> Manifest | None:
    try:
        return read_manifest(store, resolve(store, reference))
    except NotFoundError:
        return None


def _based_on(
    known: Iterable[tuple[Reference, Manifest | None]], digests: frozenset[Digest]
) -> tuple[BundleRef, ...]:
    """Those of the known names that something that is left out belongs to."""
    found = {
        (reference.tagged, reference.digest): BundleRef(
            ref=reference.tagged, digest=reference.digest
        )
        for reference, manifest in known
        if manifest and reference.digest and digests & {blob.digest for blob in manifest.blobs()}
    }
    return tuple(found[key] for key in sorted(found))
