"""Bundles of several volumes on their way in: what has arrived, what is missing, how parts join.

A volume is taken in all or not at all. Its whole blobs go to their place in the store at once,
where `gc` keeps them as long as the bundle is on its way; parts go to their place in a file of the
size of the whole, whatever the order. What is missing is asked of the store, not remembered:
nothing can be taken for arrived that is not there. State below ``.xttsreg/arriving/``::

    <digest of bundle.json>/bundle.json     which bundle
                            joined/<hex>    blobs whose parts come in, at their offsets
                            proven/<hex>.N  empty; part N of the above is in it, and right
                            origins/N.json  who signed volume N
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from xttsreg.content.bundle import BLOBS, LISTING, Bundle, BundleFile, SplitBlob
from xttsreg.content.canonical import dump_canonical, load_strict
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.stream import VerifyingReader
from xttsreg.errors import BundleMismatch, DigestMismatch, XttsregError
from xttsreg.ops.diagnosis import diagnose
from xttsreg.ops.parallel import Cancel, in_parallel
from xttsreg.ops.progress import Progress
from xttsreg.ops.reading import AGAIN, Volume
from xttsreg.ops.trust import Origin
from xttsreg.stores import durable
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.pieces import write_at

_DIRECTORY = "arriving"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One bundle on its way into a store."""

    store: LayoutStore
    bundle: Bundle
    directory: Path

    def take_parts(self, volume: Volume, progress: Progress) -> None:
        """Put the parts on a volume that belong to others elsewhere in their place, and prove them.

        They count only after `note_parts`: all of the volume has to be right.

        Raises:
            IntegrityError: a part is damaged.
        """

        def take(item: tuple[SplitBlob, BundleFile, int], cancel: Cancel) -> None:
            split, part, offset_bytes = item
            with (
                progress.task(part.path, part.size_bytes) as advance,
                (volume.directory / part.path).open("rb", buffering=0) as raw,
            ):
                reader = VerifyingReader(raw, as_blob(part), what=part.path)
                watched = cancel.watch(advance)
                try:
                    if self._is_proven(part) or self._is_whole(split):
                        reader.read_to_end(watched)
                    else:
                        joined = self._joined(split.digest)
                        durable.make_directory(joined.parent)
                        write_at(joined, offset_bytes, reader, watched)
                except DigestMismatch as error:
                    place = volume.directory / part.path
                    first = Digest(error.actual)
                    error.hint = diagnose([(place, part.digest)], first, label=part.path)
                    raise

        with durable.disk_errors(self.directory):
            in_parallel(take, self._parts_of(volume.number))

    def note_parts(self, volume: Volume) -> None:
        """The parts of this volume count from now on. `take_parts` has proven them."""
        with durable.disk_errors(self.directory):
            for split, part, _ in self._parts_of(volume.number):
                if not self._is_proven(part) and not self._is_whole(split):
                    marker = self._marker(part)
                    durable.make_directory(marker.parent)
                    durable.write_atomic(marker, b"", temporary=marker.with_suffix(".tmp"))

    def note_origin(self, number: int, origin: Origin) -> None:
        """Remember who signed a volume; the last time that it came in counts."""
        path = self.directory / "origins" / f"{number}.json"
        with durable.disk_errors(self.directory):
            durable.make_directory(path.parent)
            data = dump_canonical(origin.to_json())
            durable.write_atomic(path, data, temporary=path.with_suffix(".tmp"))

    def origins(self) -> dict[int, Origin]:
        """Who signed the volumes that came in.

        Raises:
            InvalidManifest: a note is damaged.
        """
        with durable.disk_errors(self.directory):
            return {
                int(path.stem): Origin.from_json(load_strict(path.read_bytes(), what=str(path)))
                for path in (self.directory / "origins").glob("*.json")
            }

    def join(self, progress: Progress) -> None:
        """Give every blob whose parts are all there its place in the store.

        Raises:
            DigestMismatch: the parts are right and the whole is not; they are dropped.
        """
        parts = {file.path: file for file in self.bundle.files}
        for split in self.bundle.parts:
            own = [parts[path] for path in split.paths]
            if self._is_whole(split) or not all(map(self._is_proven, own)):
                continue
            joined, blob = self._joined(split.digest), as_blob(split)
            try:
                with progress.task(f"join {split.digest.short}", split.size_bytes) as advance:
                    publish = self.store.stage_given(blob, joined, advance)
            finally:
                for part in own:
                    self._marker(part).unlink(missing_ok=True)
            publish()

    def missing(self) -> list[int]:
        """The volumes that have yet to come, in order."""
        splits = {path: split for split in self.bundle.parts for path in split.paths}

        def is_here(file: BundleFile) -> bool:
            if file.path.startswith(BLOBS):
                return self.store.has(as_blob(file))
            split = splits.get(file.path)
            return split is None or self._is_proven(file) or self._is_whole(split)

        return sorted({file.volume for file in self.bundle.files
                       if file.volume and not is_here(file)})  # fmt: skip

    def close(self) -> None:
        """All of it is in the store, under its names."""
        durable.remove_tree(self.directory)

    def _parts_of(self, number: int) -> list[tuple[SplitBlob, BundleFile, int]]:
        """The parts on a volume that has not all parts of their blob, with offsets in bytes."""
        files, found = {file.path: file for file in self.bundle.files}, []
        here = self.bundle.volume_files(number)
        for split in self.bundle.parts:
            offset_bytes = 0
            for path in split.paths:
                if path in here and not here.keys() >= set(split.paths):
                    found.append((split, files[path], offset_bytes))
                offset_bytes += files[path].size_bytes
        return found

    def _is_whole(self, split: SplitBlob) -> bool:
        return self.store.has(as_blob(split))

    def _is_proven(self, part: BundleFile) -> bool:
        return self._marker(part).exists()

    def _marker(self, part: BundleFile) -> Path:
        return self.directory / "proven" / Path(part.path).name

    def _joined(self, digest: Digest) -> Path:
        return self.directory / "joined" / digest.hex


@contextlib.contextmanager
def arrival(store: LayoutStore, volume: Volume) -> Iterator[Arrival]:
    """The arrival of this volume's bundle, one process at a time. Within `LayoutStore.writing`.

    Raises:
        BundleMismatch: a bundle of the same id, and other content, is on its way.
    """
    for directory, other in _arrivals(store):
        same = directory.name == Digest.of(volume.listing).hex
        if other.bundle_id == volume.bundle.bundle_id and not same:
            raise BundleMismatch(
                f"{volume.directory}: two different bundles call themselves {other.bundle_id}",
                hint=f"{AGAIN}; `xttsreg gc --arrivals` forgets the one that came first",
            )
    directory = store.state / _DIRECTORY / Digest.of(volume.listing).hex
    with durable.disk_errors(directory):
        durable.make_directory(directory)
        with FileLock(directory / "lock", thread_local=False):
            if not (directory / LISTING).exists():
                temporary = directory / f"{LISTING}.tmp"
                durable.make_directory(directory)
                durable.write_atomic(directory / LISTING, volume.listing, temporary=temporary)
            yield Arrival(store, volume.bundle, directory)


def awaited(store: LayoutStore) -> set[Digest]:
    """The blobs of bundles that are on their way: `gc` keeps them."""
    return {digest for _, bundle in _arrivals(store) for digest in bundle.carried()}


def arrived_files(store: LayoutStore) -> list[Path]:
    """What the state directory holds for bundles on their way."""
    return sorted(p for p in (store.state / _DIRECTORY).rglob("*") if p.is_file())


def remove_empty(store: LayoutStore) -> None:
    """Remove the directories of bundles that are no longer on their way."""
    for directory in (store.state / _DIRECTORY).glob("*"):
        if not (directory / LISTING).exists():
            durable.remove_tree(directory)


def as_blob(file: BundleFile | SplitBlob) -> Descriptor:
    """A file or split blob of a listing, as a descriptor."""
    return Descriptor(
        media_type="application/octet-stream", digest=file.digest, size_bytes=file.size_bytes
    )


def _arrivals(store: LayoutStore) -> Iterator[tuple[Path, Bundle]]:
    for path in sorted((store.state / _DIRECTORY).glob(f"*/{LISTING}")):
        with contextlib.suppress(OSError, XttsregError):
            yield path.parent, Bundle.parse(path.read_bytes())
