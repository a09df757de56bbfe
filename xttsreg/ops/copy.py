"""The one operation that moves content: bundle, import, push and pull are names for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Manifest
from xttsreg.content.stream import Advance, VerifyingReader, no_advance
from xttsreg.errors import IntegrityError
from xttsreg.ops.parallel import Cancel, in_parallel
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores.base import ResumableSource, Source, Target, read_manifest
from xttsreg.stores.layout import LayoutStore

Explain = Callable[[Descriptor, IntegrityError, str], str]
"""From a blob, what is wrong with it and its label to what to do next."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be copied: tags, and the manifests that speak about theirs.

    Attributes:
        tags: ``name:tag`` to manifest.
        held: Manifests without a name, such as acceptances of a licence.
        manifests: Each of the above, read and proven.
    """

    tags: Mapping[str, Descriptor]
    held: Sequence[Descriptor] = ()
    manifests: Mapping[Digest, Manifest] = field(default_factory=dict)

    def blobs(self) -> list[Descriptor]:
        """Every blob that the copy needs, each once; manifests last."""
        content = [blob for manifest in self.manifests.values() for blob in manifest.blobs()]
        entries = [entry.with_ref(None) for entry in (*self.tags.values(), *self.held)]
        return list({blob.digest: blob for blob in (*content, *entries)}.values())

    def labels(self) -> dict[Digest, str]:
        """A file name for each blob that stands for a file, for messages."""
        return {
            layer.digest: f"blobs/sha256/{layer.digest.hex} ({layer.file_path})"
            for manifest in self.manifests.values()
            for layer in manifest.layers
            if layer.file_path
        }


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did.

    Attributes:
        blobs: Number of blobs that were copied.
        size_bytes: Their bytes.
        skipped_bytes: Bytes that were there already, and right.
    """

    blobs: int
    size_bytes: int
    skipped_bytes: int


def select(source: Source, tags: Mapping[str, Descriptor]) -> Selection:
    """These tags of a store, with everything that belongs to them.

    Raises:
        BlobNotFound, IntegrityError, InvalidManifest: a manifest is missing or wrong.
        UnsafePath: it has files of names that cannot be, or cannot be beside each other.
    """
    manifests = {entry.digest: read_manifest(source, entry) for entry in tags.values()}
    held = []
    for digest in list(manifests):
        for entry, manifest in source.referrers(digest):
            held.append(entry)
            manifests[entry.digest] = manifest
    for manifest in manifests.values():
        manifest.files()
    return Selection(tags, held, manifests)


def copy(
    source: Source,
    target: Target,
    selection: Selection,
    *,
    take_over: bool = False,
    together: bool = True,
    prove_source: bool = False,
    elsewhere: Collection[Digest] = (),
    names: bool = True,
    explain: Explain | None = None,
    progress: Progress = QUIET,
) -> Copied:
    """Copy a selection. Names appear once every blob is there and proven.

    Args:
        source: Where it is.
        target: Where it goes.
        selection: From `select`.
        take_over: Blobs may be hard-linked from the source instead of copied.
        together: No blob appears before all are proven: all or nothing. Otherwise each appears
            when it is done, and an interrupted copy goes on from there.
        prove_source: Also read the blobs that the target has already, so that a damaged source
            is noticed whatever was copied from it before.
        elsewhere: Blobs that the source lacks, and of which the caller knows that the target has
            them.
        names: Give what was copied its names; otherwise the caller does, with `name`, before
            `writing` ends.
        explain: Gets a blob of the source that is not right, and says what to do about it.
        progress: Watches.

    Raises:
        IntegrityError: the source has other bytes than it says; names the blob.
    """
    job = _Job(source, target, selection.labels(), take_over, prove_source, explain, progress)
    wanted = [blob for blob in selection.blobs() if blob.digest not in elsewhere]
    blobs = sorted(wanted, key=lambda blob: -blob.size_bytes)

    def one(blob: Descriptor, cancel: Cancel) -> Callable[[], None] | None:
        publish = job.stage(blob, cancel)
        if publish and not together:
            publish()
        return publish

    with target.writing():
        publishers = in_parallel(one, blobs)
        for publish in publishers if together else []:
            if publish:
                publish()
        if names:
            name(target, selection)
    copied = [blob for blob, publish in zip(blobs, publishers, strict=True) if publish]
    size_bytes = sum(blob.size_bytes for blob in copied)
    return Copied(len(copied), size_bytes, sum(b.size_bytes for b in blobs) - size_bytes)


def name(target: Target, selection: Selection) -> None:
    """Give blobs that are there their names. Within `Target.writing`."""
    for tagged, entry in selection.tags.items():
        target.tag(tagged, entry)
    for entry in selection.held:
        target.hold(entry)


@dataclass(frozen=True, slots=True)
class _Job:
    """What all blobs of one copy have in common."""

    source: Source
    target: Target
    labels: Mapping[Digest, str]
    take_over: bool
    prove_source: bool
    explain: Explain | None
    progress: Progress

    def stage(self, blob: Descriptor, cancel: Cancel) -> Callable[[], None] | None:
        """Stage one blob; None if the target has it already, and right."""
        present = self.target.has(blob, advance=cancel.watch(no_advance))
        if present and not self.prove_source:
            return None
        label = self.labels.get(blob.digest, f"blobs/sha256/{blob.digest.hex}")
        with self.progress.task(label.partition(" ")[2] or label, blob.size_bytes) as advance:
            try:
                if present:
                    self._prove(blob, label, cancel.watch(advance))
                    return None
                return self._stage(blob, cancel, cancel.watch(advance))
            except IntegrityError as error:
                if self.explain:
                    error.hint = self.explain(blob, error, label)
                error.hint = error.hint or f"the damaged file is {label}; bring this one again"
                raise

    def _prove(self, blob: Descriptor, label: str, advance: Advance) -> None:
        with self.source.open(blob) as raw:
            VerifyingReader(raw, blob, what=label).read_to_end(advance)

    def _stage(self, blob: Descriptor, cancel: Cancel, advance: Advance) -> Callable[[], None]:
        source, target = self.source, self.target
        if isinstance(source, ResumableSource) and isinstance(target, LayoutStore):
            return _bring(source, target, blob, cancel, advance)
        if isinstance(source, LayoutStore) and isinstance(target, LayoutStore):
            path = source.file_of(blob)
            if path:
                return target.stage_file(blob, path, advance, hardlink=self.take_over)
        with source.open(blob) as raw:
            return target.stage(blob, raw, advance)


def _bring(
    source: ResumableSource,
    target: LayoutStore,
    blob: Descriptor,
    cancel: Cancel,
    advance: Advance,
) -> Callable[[], None]:
    """Go on where an earlier process stopped. The blob has its place when this returns."""
    with target.resumable(blob) as writer:
        if writer is not None:
            resumed_bytes = writer.offset_bytes
            advance(resumed_bytes)
            source.fill(blob, writer, sleep=cancel.sleep, advance=advance)
            try:
                writer.commit()
            except IntegrityError:
                if not resumed_bytes:
                    raise
                advance(-blob.size_bytes)  # what it was resumed from may be at fault
                source.fill(blob, writer, sleep=cancel.sleep, advance=advance)
                writer.commit()
    return lambda: None
