"""One volume of a plan onto a medium: what is there and right is left alone, the lists come last.

Nothing is believed of what lies there: every file is read again, since a stick's times are coarse
and its inodes may not last. Without ``SHA256SUMS`` a directory is no bundle, so a run that was cut
off cannot be mistaken for a whole one; the next run goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from xttsreg.content.bundle import LISTING, SIGNATURE, SUMS, UNLISTED
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.stream import CHUNK_BYTES, Advance, Readable, digest_stream
from xttsreg.errors import DigestMismatch, InsufficientSpace, IntegrityError, InvalidInputError
from xttsreg.ops import smallfiles
from xttsreg.ops.medium import free_bytes, limits_of
from xttsreg.ops.parallel import Cancel, in_parallel
from xttsreg.ops.parts import open_slice
from xttsreg.ops.plan import Plan, Planned
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.ops.stick import walk
from xttsreg.stores import durable
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.names import LAYOUT_FILE, STATE_DIRECTORY
from xttsreg.stores.uncached import digest_past_cache
from xttsreg.stores.writer import BlobWriter

Sign = Callable[[bytes, bytes | None], bytes]
"""From the bytes of ``SHA256SUMS``, and the signature that lies there if any, to the signature."""


@dataclass(frozen=True, slots=True)
class Written:
    """What writing a volume did.

    Attributes:
        directory: The volume.
        number: Which, from 1.
        files: How many of its files were written.
        size_bytes: Their bytes.
        skipped_bytes: Bytes that were there already, and right.
    """

    directory: Path
    number: int
    files: int
    size_bytes: int
    skipped_bytes: int


def write_volume(
    store: LayoutStore,
    plan: Plan,
    number: int,
    directory: Path,
    *,
    sign: Sign | None = None,
    readback: bool = False,
    progress: Progress = QUIET,
) -> Written:
    """Bring a directory to what the plan says about one volume. Writes nothing if it is that.

    Args:
        store: Has the blobs.
        plan: From `plan.complete`.
        number: Which volume, from 1.
        directory: Where; `stick.require_ours` has seen it.
        sign: Makes the signature; without it there is none.
        readback: Read all of it from the medium itself, past the system's memory of it.
        progress: Watches.

    Raises:
        InsufficientSpace, ReadOnlyMedia, StoreError: the medium cannot take it.
        IntegrityError: a blob of the store is damaged, or the medium gave other bytes back than
            were written; what is wrong was removed from it.
    """
    planned = plan.volume(number)
    sums = plan.sums(number)
    lists = {LISTING: plan.listing}
    there = dict(walk(directory)) if directory.is_dir() else {}
    todo = _todo(directory, planned, there, readback, progress)
    if sign:
        lists[SIGNATURE] = sign(sums, _read(directory / SIGNATURE))
    lists[SUMS] = sums  # last
    stale = there.keys() - {file.file.path for file in planned} - lists.keys()
    if todo or stale or any(_read(directory / name) != data for name, data in lists.items()):
        wrong = {
            path: there[path] for path in stale | {one.file.path for one in todo} & there.keys()
        }
        with durable.disk_errors(directory):
            _require_room(directory, todo, wrong)
            _clear(directory, wrong)
            _write_files(store, plan, todo, directory, progress)
            for name, data in lists.items():
                _write_small(directory, name, data)
            shutil.rmtree(directory / STATE_DIRECTORY, ignore_errors=True)
    if readback:
        _read_back(directory, todo, lists, progress)
    size_bytes = sum(file.file.size_bytes for file in todo)
    total_bytes = sum(file.file.size_bytes for file in planned)
    return Written(directory, number, len(todo), size_bytes, total_bytes - size_bytes)


def _todo(
    directory: Path,
    planned: Sequence[Planned],
    there: Mapping[str, int | None],
    past_cache: bool,
    progress: Progress,
) -> list[Planned]:
    """What is missing or wrong; the rest was read and is right."""

    def is_right(one: Planned, cancel: Cancel) -> bool:
        file = one.file
        if there.get(file.path) != file.size_bytes:
            return False
        with progress.task(f"check {file.path}", file.size_bytes) as advance:
            path, watched = directory / file.path, cancel.watch(advance)
            try:
                if past_cache:
                    return digest_past_cache(path, watched) == file.digest
                with path.open("rb", buffering=0) as raw:
                    return digest_stream(raw, watched)[0] == file.digest
            except OSError:
                return False

    right = in_parallel(is_right, planned)
    return [one for one, is_there in zip(planned, right, strict=True) if not is_there]


def _require_room(
    directory: Path, todo: Sequence[Planned], wrong: Mapping[str, int | None]
) -> None:
    """Make sure that it fits, before anything of an earlier bundle is given up.

    Raises:
        InsufficientSpace: it does not; the hint says how many bytes a volume may have here.
        InvalidInputError: a file is longer than the medium takes.
    """
    limits = limits_of(directory)
    for one in todo:
        if limits.file_bytes is not None and one.file.size_bytes > limits.file_bytes:
            raise InvalidInputError(
                f"{directory}: takes files up to {limits.file_bytes} bytes; {one.file.path} "
                f"has {one.file.size_bytes}",
                hint=f"for all volumes add --max-file-size {limits.file_bytes}",
            )
    state = directory / STATE_DIRECTORY
    given_up = [*wrong.values(), *(dict(walk(state)).values() if state.is_dir() else ())]
    free = free_bytes(directory) + sum(limits.occupied(size_bytes or 0) for size_bytes in given_up)
    needed_bytes = sum(limits.occupied(one.file.size_bytes) for one in todo)
    if needed_bytes > free:
        raise InsufficientSpace(
            str(directory),
            needed_bytes=needed_bytes,
            free_bytes=free,
            hint="use a larger medium, or several with --volume-size, or bundle less",
        )


def _clear(directory: Path, wrong: Mapping[str, int | None]) -> None:
    """Remove the lists, so that this is no bundle for now, and then what is wrong or not wanted."""
    durable.make_directory(directory)
    for name in (SUMS, SIGNATURE):
        (directory / name).unlink(missing_ok=True)
    durable.sync_directory(directory)
    for path in sorted(wrong.keys() - set(UNLISTED)):
        (directory / path).unlink(missing_ok=True)
        for above in (directory / path).parents:
            if above == directory:
                break
            with contextlib.suppress(OSError):  # not empty
                above.rmdir()


def _write_files(
    store: LayoutStore, plan: Plan, todo: Sequence[Planned], directory: Path, progress: Progress
) -> None:
    durable.make_directory(_state(directory))
    small = {one.file.path: one.data for one in todo if one.data is not None}
    first = [name for name in (LAYOUT_FILE, smallfiles.README) if name in small]
    for name in (*first, *sorted(small.keys() - set(first))):  # first, what marks it as a bundle
        _write_small(directory, name, small[name])

    def write(one: Planned, cancel: Cancel) -> None:
        path, size_bytes = one.file.path, one.file.size_bytes
        label = plan.labels.get(one.file.digest, path)
        with progress.task(label.partition(" ")[2] or label, size_bytes) as advance:
            try:
                _write_blob(store, one, directory, cancel.watch(advance))
            except IntegrityError as error:
                error.hint = error.hint or f"the damaged file is {label}; bring this one again"
                raise

    in_parallel(write, [one for one in todo if one.data is None])


def _write_blob(store: LayoutStore, one: Planned, directory: Path, advance: Advance) -> None:
    target = directory / one.file.path
    expected = Descriptor(
        media_type="application/octet-stream",
        digest=one.file.digest,
        size_bytes=one.file.size_bytes,
    )
    durable.make_directory(target.parent)
    partial = _state(directory) / target.name
    if partial.exists():
        # A power cut may have left anything, and some media do not go on with half a file.
        with contextlib.suppress(IntegrityError, PermissionError):
            _fill(store, one, BlobWriter(partial, target, expected, resume=True), advance)
            return
        partial.unlink(missing_ok=True)
    _fill(store, one, BlobWriter(partial, target, expected), advance)


def _fill(store: LayoutStore, one: Planned, writer: BlobWriter, advance: Advance) -> None:
    """Write what is still missing; what a failure leaves is for the next run."""
    try:
        advance(writer.offset_bytes)
        with _open(store, one, writer.offset_bytes) as source:
            while chunk := source.read(CHUNK_BYTES):
                writer.write(chunk)
                advance(len(chunk))
        writer.commit(read_only=False)
    finally:
        writer.keep()


@contextlib.contextmanager
def _open(store: LayoutStore, one: Planned, skipped_bytes: int) -> Iterator[Readable]:
    """The bytes of a planned file, behind those that are there."""
    if one.blob is None:
        raise RuntimeError(f"{one.file.path}: neither data nor blob")
    raw: BinaryIO
    with store.open(one.blob) as raw:
        offset_bytes = one.offset_bytes + skipped_bytes
        yield open_slice(raw, offset_bytes, one.file.size_bytes - skipped_bytes)


def _read_back(
    directory: Path, written: Sequence[Planned], lists: Mapping[str, bytes], progress: Progress
) -> None:
    """What was written, as the medium gives it; the rest was read that way before.

    Raises:
        DigestMismatch: it gave other bytes. They are gone, and the lists with them.
    """
    expected = {one.file.path: one.file.digest for one in written}
    expected |= {name: Digest.of(data) for name, data in lists.items()}

    def read(path: str, cancel: Cancel) -> Digest:
        size_bytes = (directory / path).stat().st_size
        with progress.task(f"read back {path}", size_bytes) as advance:
            return digest_past_cache(directory / path, cancel.watch(advance))

    with durable.disk_errors(directory):
        found = in_parallel(read, expected)
        wrong = {
            p: actual for p, actual in zip(expected, found, strict=True) if actual != expected[p]
        }
        for path in [SUMS, SIGNATURE, *wrong] if wrong else []:
            (directory / path).unlink(missing_ok=True)
        if wrong:
            durable.sync_directory(directory)
    for path, actual in wrong.items():
        raise DigestMismatch(
            f"{path}, read back from the medium",
            expected=expected[path],
            actual=actual,
            hint="it was removed; write it once more, and if that happens again take another stick",
        )


def _write_small(directory: Path, name: str, data: bytes) -> None:
    path = directory / name
    if _read(path) != data:
        durable.make_directory(path.parent)
        durable.write_atomic(path, data, temporary=_state(directory) / f"{path.name}.tmp")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _state(directory: Path) -> Path:
    return directory / STATE_DIRECTORY
