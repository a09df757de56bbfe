"""A bundle as one tar file, written and read in one pass, to and from a pipe.

An OCI archive to skopeo. The lists come first, so that a reader knows what every byte behind them
has to be; headers carry no times and no owners, so the same bundle is the same file.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from xttsreg.content.bundle import (
    BLOBS,
    EVERY_VOLUME,
    LISTING,
    SIGNATURE,
    SUMS,
    Bundle,
    BundleFile,
)
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import MANIFEST_TYPE
from xttsreg.content.plaintar import PlainMember, open_plain
from xttsreg.content.stream import VerifyingReader
from xttsreg.errors import BundleMismatch, InsufficientSpace, IntegrityError, InvalidInputError
from xttsreg.ops.arriving import as_blob
from xttsreg.ops.copy import Copied
from xttsreg.ops.gate import CAREFUL, Gate, Policy
from xttsreg.ops.importing import Imported, name_checked, select_bundle
from xttsreg.ops.medium import free_bytes, limits_of
from xttsreg.ops.naming import require_same_names
from xttsreg.ops.plan import Plan
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.ops.reading import AGAIN, parse_index, parse_lists, prove_small, require_small
from xttsreg.ops.smallfiles import INDEX
from xttsreg.ops.thin import require_present
from xttsreg.ops.writing import Sign
from xttsreg.stores import durable
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.memory import MemoryStore
from xttsreg.stores.names import LAYOUT_FILE

_LIST_BYTES = 64 * 1024 * 1024
_UNPACK = "unpack it with tar, and import the directory"


# --- writing ------------------------------------------------------------------------------------


@contextmanager
def archive_file(path: Path, plan: Plan) -> Iterator[IO[bytes]]:
    """A file for `write_archive`, which gets its name when it is whole.

    Raises:
        InsufficientSpace, ReadOnlyMedia, StoreError: the disk cannot take it.
        InvalidInputError: the medium takes no file so long.
    """
    needed_bytes = sum(file.size_bytes + 1024 for file in plan.bundle.files) + 2 * _header(plan)
    limit = limits_of(path.parent).file_bytes
    if limit is not None and needed_bytes > limit:
        raise InvalidInputError(
            f"{path}: takes files up to {limit} bytes, and the archive has {needed_bytes}",
            hint="write a directory with -o, where long files are split",
        )
    free = free_bytes(path.parent)
    if needed_bytes > free:
        raise InsufficientSpace(str(path), needed_bytes=needed_bytes, free_bytes=free)
    partial = path.with_name(f"{path.name}.partial")
    with durable.disk_errors(path, needed_bytes):
        durable.make_directory(path.parent)
        try:
            with partial.open("wb") as file:
                yield file
                durable.sync_file(file)
            durable.publish(partial, path, read_only=False)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _header(plan: Plan) -> int:
    return len(plan.listing) + len(plan.sums(1)) + 16 * 1024


def write_archive(
    store: LayoutStore,
    plan: Plan,
    out: IO[bytes],
    *,
    sign: Sign | None = None,
    progress: Progress = QUIET,
) -> int:
    """Write a plan of one volume, without parts, as a tar.

    Args:
        store: Has the blobs.
        plan: What.
        out: Written from front to back; may be a pipe.
        sign: Makes the signature.
        progress: Watches.

    Returns:
        The bytes of the files in it.

    Raises:
        IntegrityError: a blob of the store is damaged; the tar ends without its end.
    """
    sums = plan.sums(1)
    lists = {SUMS: sums} | ({SIGNATURE: sign(sums, None)} if sign else {}) | {LISTING: plan.listing}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for path, data in lists.items():
            tar.addfile(_member(path, len(data)), io.BytesIO(data))
        first = (LAYOUT_FILE, INDEX)
        for one in sorted(plan.volume(1), key=lambda one: one.file.path not in first):
            info = _member(one.file.path, one.file.size_bytes)
            if one.blob is None:
                tar.addfile(info, io.BytesIO(one.data or b""))
                continue
            label = plan.labels.get(one.file.digest, one.file.path)
            with (
                store.open(one.blob) as raw,
                progress.task(label.partition(" ")[2] or label, info.size) as advance,
            ):
                reader = VerifyingReader(raw, one.blob, what=label)
                tar.addfile(info, _Watched(reader, advance))
                reader.read(1)  # the end, where the digest is checked
    return sum(file.size_bytes for file in plan.bundle.files)


def _member(path: str, size_bytes: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.size, info.mode = size_bytes, 0o644
    return info


class _Watched:
    """A reader that tells how far it is."""

    def __init__(self, reader: VerifyingReader, advance: Callable[[int], None]) -> None:
        self._reader, self._advance = reader, advance

    def read(self, size: int = -1, /) -> bytes:
        """Read, and tell."""
        data = self._reader.read(size)
        self._advance(len(data))
        return data


# --- reading ------------------------------------------------------------------------------------


def import_archive(
    stream: IO[bytes],
    store: LayoutStore,
    *,
    what: str,
    policy: Policy = CAREFUL,
    progress: Progress = QUIET,
) -> Imported:
    """Take in a bundle that `write_archive` made, reading it once from front to back.

    Args:
        stream: The tar.
        store: Where to.
        what: Its name, for messages.
        policy: What may come in.
        progress: Watches.

    Raises:
        InvalidInputError: no such archive.
        XttsregError: as `importing.import_bundle`; the store is as it was.
    """
    gate = Gate(policy)
    try:
        with _open(stream, what) as tar:
            members = _members(tar, what)
            bundle = _read_lists(members, gate, what)
            gate.admit(store, bundle)
            if not policy.force:
                require_same_names(store, _names(bundle), "the bundle")
            require_present(store, bundle, progress=progress)
            _require_space(store, bundle)
            return _take(members, store, bundle, gate, progress)
    except (tarfile.ReadError, EOFError) as error:
        raise BundleMismatch(f"{what}: not a whole tar archive ({error})", hint=AGAIN) from None


def _open(stream: IO[bytes], what: str) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=stream, mode="r|", tarinfo=PlainMember)
    except tarfile.ReadError:
        raise InvalidInputError(
            f"{what}: not a directory, and not an archive",
            hint="give what `xttsreg bundle` wrote: a directory, or the file of --archive",
        ) from None


Members = Iterator[tuple[tarfile.TarInfo, IO[bytes]]]


def _members(tar: tarfile.TarFile, what: str) -> Members:
    for info in tar:
        file = open_plain(tar, info)
        if file is None:
            raise BundleMismatch(f"{what}: {info.name}: not a regular file", hint=_UNPACK)
        yield info, file


def _read_lists(members: Members, gate: Gate, what: str) -> Bundle:
    """The first two or three members. Nothing is parsed before the signature was looked at."""
    found: dict[str, bytes] = {}
    for info, file in members:
        allowed = (SUMS,) if not found else (SIGNATURE, LISTING)
        if info.name not in allowed or info.name in found or info.size > _LIST_BYTES:
            raise InvalidInputError(
                f"{what}: is no bundle's archive, or not as `bundle --archive` writes it "
                f"({info.name} comes where {' or '.join(allowed)} should)",
                hint=_UNPACK,
            )
        found[info.name] = file.read()
        if info.name == LISTING:
            break
    if LISTING not in found:
        raise InvalidInputError(f"{what}: no bundle's archive", hint="give one of `bundle`")
    gate.check(found[SUMS], found.get(SIGNATURE))
    bundle, _ = parse_lists(found[SUMS], found[LISTING])
    if bundle.volumes > 1 or bundle.parts:
        raise InvalidInputError(f"{what}: holds one volume of several, or parts", hint=_UNPACK)
    return bundle


def _take(
    members: Members,
    store: LayoutStore,
    bundle: Bundle,
    gate: Gate,
    progress: Progress,
) -> Imported:
    expected, light = bundle.volume_files(1), MemoryStore()
    small: dict[str, bytes] = {}
    publishers: dict[Digest, Callable[[], None]] = {}
    with store.writing():
        require_present(store, bundle)  # again: from here on `gc` waits
        for info, file in members:
            listed = expected.pop(info.name, None)
            if listed is None or info.size != listed.size_bytes:
                reason = "not in the bundle's listing, or twice" if listed is None else "other size"
                raise BundleMismatch(f"{info.name}: {reason}", hint=AGAIN)
            if not info.name.startswith(BLOBS):
                require_small(listed)
                small[info.name] = prove_small(info.name, file.read(), listed.digest)
                continue
            publish = _stage(file, store, listed, light, progress)
            if publish:
                publishers[listed.digest] = publish
        if expected:
            raise BundleMismatch(f"{min(expected)}: missing", hint=AGAIN)
        light.replace_index(parse_index(bundle, small.get(INDEX)))
        selection = select_bundle(light, bundle)
        for publish in publishers.values():
            publish()
        name_checked(store, gate, bundle, selection)
    carried = bundle.carried()
    size_bytes = sum(carried[digest] for digest in publishers)
    copied = Copied(len(publishers), size_bytes, sum(carried.values()) - size_bytes)
    return Imported(bundle, copied, gate.origin)


def _stage(
    file: IO[bytes], store: LayoutStore, listed: BundleFile, light: MemoryStore, progress: Progress
) -> Callable[[], None] | None:
    """Stage one blob; None if the store has it already. Manifests are kept for reading as well."""
    blob = as_blob(listed)
    if listed.volume == EVERY_VOLUME:
        require_small(listed)
        data = prove_small(listed.path, file.read(), listed.digest)
        light.put_bytes(blob.media_type, data)
        return None if store.has(blob) else store.stage(blob, io.BytesIO(data))
    with progress.task(listed.path, listed.size_bytes) as advance:
        try:
            if not store.has(blob):
                return store.stage(blob, file, advance)
            VerifyingReader(file, blob, what=listed.path).read_to_end(advance)
            return None
        except IntegrityError as error:
            error.hint = error.hint or AGAIN
            raise


def _names(bundle: Bundle) -> dict[str, Descriptor]:
    """What the names will mean; the index, which has the sizes, comes later and must agree."""
    return {
        ref.ref: Descriptor(media_type=MANIFEST_TYPE, digest=ref.digest, size_bytes=0)
        for ref in bundle.refs
    }


def _require_space(store: LayoutStore, bundle: Bundle) -> None:
    sizes: Mapping[Digest, int] = bundle.carried()
    needed_bytes = sum(n for digest, n in sizes.items() if not store.blob_path(digest).exists())
    free = free_bytes(store.root)
    if needed_bytes > free:
        raise InsufficientSpace(str(store.root), needed_bytes=needed_bytes, free_bytes=free)
