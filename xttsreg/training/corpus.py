"""The dataset of a run: a folder as it is, or a view of one that the store has."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Manifest
from xttsreg.content.packs import PACK_TYPE
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidDataset
from xttsreg.ops.datasets import describe_dataset
from xttsreg.ops.progress import Progress
from xttsreg.ops.sources import find_by_digest, load_dataset
from xttsreg.ops.views import check_after, checkout
from xttsreg.stores.layout import LayoutStore
from xttsreg.training.explain import named_as
from xttsreg.training.run import DATASET_NAME

Source = Path | Reference


@dataclass(frozen=True, slots=True)
class Corpus:
    """A dataset to train on.

    Attributes:
        directory: Where its files are, or will be in `checked_out`.
        entry: Its manifest; the digest stands in the lineage.
        manifest: The same, read.
        reference: What it is called in the store, with digest; None for a folder.
    """

    directory: Path
    entry: Descriptor
    manifest: Manifest
    reference: Reference | None = None

    def copied_bytes(self, store: LayoutStore, output: Path) -> int:
        """How much `checked_out` will write: packs always, files on another filesystem."""
        if self.reference is None:
            return 0
        parent = next(folder for folder in (output, *output.absolute().parents) if folder.is_dir())
        near = parent.stat().st_dev == store.root.stat().st_dev
        layers = self.manifest.layers
        return sum(
            layer.size_bytes for layer in layers if layer.media_type == PACK_TYPE or not near
        )

    @contextmanager
    def checked_out(self, store: LayoutStore, progress: Progress) -> Iterator[bool]:
        """Hold a view while the run lasts; of a folder there is nothing to make.

        Yields:
            Whether it has links to blobs, which `check_after` has to look at.
        """
        if self.reference is None:
            yield False
            return
        mode = checkout(
            store, self.entry, self.directory, hardlink=True, use_cache=False, progress=progress
        )
        progress.note(f"dataset: {self.reference.tagged}, checked, by {mode}")
        try:
            with named_as(self.reference.tagged, self.directory):
                yield mode == "hardlink"
        finally:
            self.clear()

    def check_after(self, store: LayoutStore) -> None:
        """See `views.check_after`."""
        check_after(store, self.entry)

    def clear(self) -> None:
        """Remove the view. A folder is the user's."""
        if self.reference is not None:
            shutil.rmtree(self.directory, ignore_errors=True)


def open_corpus(store: LayoutStore, source: Source, output: Path, progress: Progress) -> Corpus:
    """Return the dataset of a new run.

    Args:
        store: Where names are looked up.
        source: The user's choice.
        output: The run's folder.
        progress: Watches the hashing of a folder.

    Raises:
        InvalidDataset: there is no such folder, or nothing in it.
        InvalidModel: the name means something else.
        TagNotFound, BlobNotFound, IntegrityError: the store does not have it, or not right.
    """
    if isinstance(source, Reference):
        reference, entry, manifest = load_dataset(store, source)
        return Corpus(output.absolute() / DATASET_NAME, entry, manifest, reference)
    manifest = describe_dataset(source, progress=progress)
    return Corpus(source.absolute(), manifest.describe(), manifest)


def reopen_corpus(
    store: LayoutStore,
    origin: Mapping[str, Any],
    recorded: Path,
    given: Source | None,
    output: Path,
    progress: Progress,
) -> Corpus:
    """Return the dataset that a run began with, wherever it is by now.

    That is: what the user gives, else the folder that it was, else what the store has of the same
    digest. So a run goes on on another machine, too.

    Args:
        store: Where digests and names are looked up.
        origin: What the run's record says.
        recorded: The folder of which the run was told.
        given: What the user gives now.
        output: The run's folder.
        progress: Watches the hashing of a folder.

    Raises:
        InvalidDataset: it is not there, or another one by now.
        XttsregError: as `open_corpus`.
    """
    digest = Digest(origin["dataset"])
    if given is not None:
        return _same(open_corpus(store, given, output, progress), digest, given)
    was_in_store = bool(origin.get("dataset_ref"))
    if not was_in_store and recorded.is_dir():
        found = open_corpus(store, recorded, output, progress)
        if found.entry.digest == digest:
            return found
    reference = find_by_digest(store, digest)
    if reference is not None:
        return open_corpus(store, reference, output, progress)
    if was_in_store:
        name = str(origin["dataset_ref"]).partition("@")[0]
        raise InvalidDataset(
            f"{name}: the dataset of this run, {digest.short}, is not in the store",
            hint="import it, or give --dataset with a folder of the same files",
        )
    if recorded.is_dir():
        raise InvalidDataset(
            f"{recorded}: has changed since the run began",
            hint="bring back what it was, or begin a new run without --resume",
        )
    raise InvalidDataset(
        f"{recorded}: no such directory, and the store has no dataset {digest.short}",
        hint="give --dataset with where it is now, or import it",
    )


def _same(found: Corpus, digest: Digest, given: Source) -> Corpus:
    if found.entry.digest != digest:
        raise InvalidDataset(
            f"{given}: is not the dataset that the run began with "
            f"({found.entry.digest.short} instead of {digest.short})",
            hint="give the same files, or begin a new run without --resume",
        )
    return found
