"""Which blob goes onto which stick, and what has to be split: whole by first fit, else in parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xttsreg.content.digest import Digest
from xttsreg.errors import InvalidInputError

FAT32_FILE_BYTES = 2**32 - 1
MAX_VOLUMES = 9999


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a medium takes.

    Attributes:
        file_bytes: The longest file; None for any.
        volume_bytes: The room on one volume; None for one volume that takes all.
        block_bytes: What a file occupies is a multiple of this.
    """

    file_bytes: int | None = None
    volume_bytes: int | None = None
    block_bytes: int = 4096

    def occupied(self, size_bytes: int) -> int:
        """What a file of this size takes away from the room."""
        return -(-size_bytes // self.block_bytes) * self.block_bytes


@dataclass(frozen=True, slots=True)
class Room:
    """What one volume has for blobs.

    Attributes:
        limits: Of the medium.
        taken_bytes: What is on every volume already.
    """

    limits: Limits
    taken_bytes: int

    @property
    def volume_bytes(self) -> int | None:
        """Whole blocks; None if there is no end."""
        if self.limits.volume_bytes is None:
            return None
        free_bytes = self.limits.volume_bytes - self.taken_bytes
        return free_bytes // self.limits.block_bytes * self.limits.block_bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """A blob or a part of one, on a volume; the parts of a blob follow each other in order."""

    digest: Digest
    size_bytes: int
    volume: int


def spread(blobs: Sequence[tuple[Digest, int]], room: Room) -> list[Piece]:
    """Put blobs (digest, size in bytes) onto as few volumes as can be.

    On so many volumes, a blob stays whole if one has room for it, the largest first. What fits
    nowhere whole, or is longer than a file may be, is cut to what is left.

    Raises:
        InvalidInputError: it would take more than `MAX_VOLUMES`.
    """
    largest_first = sorted(blobs, key=lambda blob: (-blob[1], blob[0]))
    if room.volume_bytes is None:
        return _attempt(largest_first, room, [None]) or []
    total_bytes = sum(room.limits.occupied(size_bytes) for _, size_bytes in blobs)
    volumes = max(1, -(-total_bytes // room.volume_bytes))
    while volumes <= MAX_VOLUMES:
        pieces = _attempt(largest_first, room, [room.volume_bytes] * volumes)
        if pieces is not None:
            return pieces
        volumes += 1
    raise InvalidInputError(
        f"{total_bytes} bytes would take more than {MAX_VOLUMES} volumes",
        hint="give a larger --volume-size",
    )


def _attempt(
    blobs: Sequence[tuple[Digest, int]], room: Room, free: list[int | None]
) -> list[Piece] | None:
    """Pieces on volumes with this much room each (None: no end); None if they do not fit."""
    limits, pieces, to_cut = room.limits, [], []
    for digest, size_bytes in blobs:
        volume = None
        if not limits.file_bytes or size_bytes <= limits.file_bytes:
            volume = _first_fit(limits.occupied(size_bytes), free)
        if volume is None:
            to_cut.append((digest, size_bytes))
        else:
            pieces.append(Piece(digest, size_bytes, volume + 1))
    for digest, size_bytes in to_cut:
        parts = _cut(digest, size_bytes, limits, free)
        if parts is None:
            return None
        pieces += parts
    return pieces


def _first_fit(occupied_bytes: int, free: list[int | None]) -> int | None:
    for volume, free_bytes in enumerate(free):
        if free_bytes is None:
            return volume
        if occupied_bytes <= free_bytes:
            free[volume] = free_bytes - occupied_bytes
            return volume
    return None


def _cut(
    digest: Digest, size_bytes: int, limits: Limits, free: list[int | None]
) -> list[Piece] | None:
    parts, left_bytes = [], size_bytes
    for volume, free_bytes in enumerate(free):
        while left_bytes and (free_bytes is None or free_bytes > 0):
            part_bytes = min(n for n in (left_bytes, limits.file_bytes, free_bytes) if n)
            parts.append(Piece(digest, part_bytes, volume + 1))
            left_bytes -= part_bytes
            if free_bytes is not None:
                free_bytes -= limits.occupied(part_bytes)
        free[volume] = free_bytes
    return parts if not left_bytes else None
