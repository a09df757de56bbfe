"""What a bundle will hold, known in full before its first byte is written.

Pure: from a selection, the small files and the limits of the media to the files of every volume.
Only the digests of parts need a look at bytes; the caller brings the function that takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from xttsreg.content.bundle import (
    EVERY_VOLUME,
    FORMAT_VERSION,
    LISTING,
    Bundle,
    BundleFile,
    BundleRef,
    RequiredBlob,
    SplitBlob,
    blob_path,
    format_sums,
    part_path,
)
from xttsreg.content.canonical import dump_canonical
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.errors import InvalidInputError
from xttsreg.ops.copy import Selection
from xttsreg.ops.spread import Limits, Piece, Room, spread

_SMALL_BYTES = 1024 * 1024
_DRAFT = "00000000-0000-0000-0000-000000000000"

Sizes = Sequence[int]
DigestParts = Callable[[Descriptor, Sizes], Sequence[Digest]]
"""The digests of a blob's parts, which have these sizes in bytes, in order."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One file to write.

    Attributes:
        file: Its path, size and digest.
        data: Its bytes, of a small file; None for what comes from a blob.
        blob: The blob that it is, or is a part of.
        offset_bytes: Where in the blob it begins.
    """

    file: BundleFile
    data: bytes | None = None
    blob: Descriptor | None = None
    offset_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a bundle will hold, but the signature.

    Attributes:
        bundle: The listing.
        listing: Its bytes.
        files: Every planned file, by path.
        labels: For people: what a blob is, where that is known.
    """

    bundle: Bundle
    listing: bytes
    files: Mapping[str, Planned]
    labels: Mapping[Digest, str]

    def volume(self, number: int) -> list[Planned]:
        """What one volume holds, without `UNLISTED`: small files, then manifests, then blobs."""
        planned = [self.files[path] for path in self.bundle.volume_files(number)]
        return sorted(
            planned,
            key=lambda p: (p.data is None, p.file.volume, -p.file.size_bytes, p.file.path),
        )

    def sums(self, number: int) -> bytes:
        """``SHA256SUMS`` of one volume."""
        files = self.bundle.volume_files(number)
        digests = {path: file.digest for path, file in files.items()}
        return format_sums({**digests, LISTING: Digest.of(self.listing)})


def draft(
    selection: Selection,
    small: Mapping[str, bytes],
    *,
    limits: Limits,
    tool: str,
    digest_parts: DigestParts,
    absent: Collection[Digest] = (),
    based_on: Sequence[BundleRef] = (),
) -> Bundle:
    """The listing of these contents, still without a name: id, sequence and date are placeholders.

    Args:
        selection: What is brought.
        small: Files that every volume has, path to bytes.
        limits: Of the media.
        tool: Who writes it.
        digest_parts: Looks at blobs that have to be split.
        absent: Blobs that are not carried: the importing store must have them.
        based_on: For people: the names that they belong to.

    Raises:
        InvalidInputError: the limits are too narrow.
    """
    everywhere = [BundleFile(path=path, size_bytes=len(data), digest=Digest.of(data), volume=0)
                  for path, data in small.items()]  # fmt: skip
    carried = [blob for blob in selection.blobs() if blob.digest not in absent]
    light = {blob.digest for blob in carried if _is_light(blob, selection)}
    everywhere += [_whole(blob, EVERY_VOLUME) for blob in carried if blob.digest in light]
    spread_out = [blob for blob in carried if blob.digest not in light]
    room = _room(everywhere, len(spread_out), limits)
    pieces = spread([(blob.digest, blob.size_bytes) for blob in spread_out], room)
    parts, files = _split(pieces, spread_out, digest_parts)
    return Bundle(
        format_version=FORMAT_VERSION,
        bundle_id=_DRAFT,
        sequence=1,
        previous=None,
        created="",
        tool=tool,
        volumes=max([1, *(piece.volume for piece in pieces)]),
        refs=tuple(BundleRef(ref=t, digest=e.digest) for t, e in sorted(selection.tags.items())),
        based_on=tuple(based_on),
        requires=tuple(
            RequiredBlob(digest=blob.digest, size_bytes=blob.size_bytes)
            for blob in sorted(selection.blobs(), key=lambda blob: blob.digest)
            if blob.digest in absent
        ),
        files=tuple(sorted([*everywhere, *files], key=lambda file: file.path)),
        parts=tuple(sorted(parts, key=lambda split: split.digest)),
    )


def complete(bundle: Bundle, selection: Selection, small: Mapping[str, bytes]) -> Plan:
    """The plan for a listing that has its name."""
    blobs = {blob.digest: blob for blob in selection.blobs()}
    whole = {blob_path(digest): blob for digest, blob in blobs.items()}
    files = {}
    for file in bundle.files:
        if file.path in small:
            files[file.path] = Planned(file, data=small[file.path])
        elif file.path in whole:
            files[file.path] = Planned(file, blob=whole[file.path])
    listed = {file.path: file for file in bundle.files}
    for split in bundle.parts:
        offset_bytes = 0
        for path in split.paths:
            part = listed[path]
            files[path] = Planned(part, blob=blobs[split.digest], offset_bytes=offset_bytes)
            offset_bytes += part.size_bytes
    return Plan(bundle, dump_canonical(bundle.to_json()), files, selection.labels())


def _is_light(blob: Descriptor, selection: Selection) -> bool:
    """Whether every volume has it: what explains the others must not lie on another stick."""
    explains = blob.digest in selection.manifests or any(
        manifest.config.digest == blob.digest for manifest in selection.manifests.values()
    )
    return explains and blob.size_bytes < _SMALL_BYTES


def _whole(blob: Descriptor, volume: int) -> BundleFile:
    return BundleFile(
        path=blob_path(blob.digest), size_bytes=blob.size_bytes, digest=blob.digest, volume=volume
    )


def _room(everywhere: Sequence[BundleFile], others: int, limits: Limits) -> Room:
    """What a volume has left beside the files that are on each of them."""
    too_large = [f for f in everywhere if limits.file_bytes and f.size_bytes > limits.file_bytes]
    if too_large:
        raise InvalidInputError(
            f"files up to {limits.file_bytes} bytes are too short for {too_large[0].path} "
            f"({too_large[0].size_bytes} bytes), which is not split",
            hint="give a larger --max-file-size",
        )
    # The lists grow with the number of files: a line of SHA256SUMS and an entry of bundle.json,
    # 500 bytes at most; and a blob may be in parts.
    lists_bytes = 16 * 1024 + 500 * (len(everywhere) + 4 * others)
    room = Room(limits, sum(limits.occupied(f.size_bytes) for f in everywhere) + lists_bytes)
    if room.volume_bytes is not None and room.volume_bytes < limits.block_bytes:
        raise InvalidInputError(
            f"volumes of {limits.volume_bytes} bytes are too small: "
            f"{room.taken_bytes} bytes are on every one",
            hint="give a larger --volume-size",
        )
    return room


def _split(
    pieces: Sequence[Piece], blobs: Sequence[Descriptor], digest_parts: DigestParts
) -> tuple[list[SplitBlob], list[BundleFile]]:
    files: list[BundleFile] = []
    parts: list[SplitBlob] = []
    for blob in blobs:
        own = [piece for piece in pieces if piece.digest == blob.digest]
        if len(own) == 1:
            files.append(_whole(blob, own[0].volume))
            continue
        digests = digest_parts(blob, [piece.size_bytes for piece in own])
        paths = [part_path(blob.digest, number) for number in range(len(own))]
        files += [
            BundleFile(path=path, size_bytes=piece.size_bytes, digest=digest, volume=piece.volume)
            for path, piece, digest in zip(paths, own, digests, strict=True)
        ]
        parts.append(SplitBlob(digest=blob.digest, size_bytes=blob.size_bytes, paths=tuple(paths)))
    return parts, files
