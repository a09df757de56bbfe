"""The store on disk: an OCI image layout, as any OCI tool reads it, plus our state in `.xttsreg/`.

Source of the layout: OCI image-spec, image-layout.md. Blobs come first and `index.json` last, so
a crash at any instant leaves a valid layout with, at worst, files that `gc` removes.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from xttsreg.content.canonical import (
    MAX_MANIFEST_BYTES,
    load_strict,
)
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Index, Manifest
from xttsreg.content.stream import CHUNK_BYTES, Advance, Readable, no_advance, prove
from xttsreg.errors import (
    BlobNotFound,
    IntegrityError,
    NewerFormat,
    StoreLocked,
    StoreNotFound,
    TagNotFound,
)
from xttsreg.stores import durable, lease, links, spare
from xttsreg.stores.base import find_referrers
from xttsreg.stores.names import (
    INDEX_FILE,
    LAYOUT,
    LAYOUT_FILE,
    LAYOUT_VERSION,
    STATE_DIRECTORY,
)
from xttsreg.stores.verified import VerifiedCache
from xttsreg.stores.writer import BlobWriter

LOCK_TIMEOUT_S = 60.0


class LayoutStore:
    """A store in a directory.

    Args:
        root: The directory; `create` makes it a layout, `open_existing` wants it to be one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / STATE_DIRECTORY
        self._blobs = root / "blobs" / "sha256"
        self._index = spare.IndexReader(root / INDEX_FILE, self.state)
        self._verified = VerifiedCache(self.state / "verified")
        self._lease: lease.Lease | None = None
        self._lease_users = 0
        self._lease_guard = threading.Lock()

    @classmethod
    def create(cls, root: Path) -> LayoutStore:
        """Open the layout at ``root``, making an empty one where there is none.

        Raises:
            ReadOnlyMedia, InsufficientSpace, StoreError: the disk does not let us.
            NewerFormat: the layout has a version that we don't know.
        """
        with durable.disk_errors(root):
            store = cls.at(root)
            store._establish()
        return store

    @classmethod
    def at(cls, root: Path) -> LayoutStore:
        """Open the layout at ``root``; where there is none, the first write makes one.

        Until then the disk is untouched, so that what is refused leaves no trace.

        Raises:
            NewerFormat: the layout has a version that we don't know.
        """
        store = cls(root)
        if (root / LAYOUT_FILE).exists():
            store._check_version()
        return store

    @classmethod
    def open_existing(cls, root: Path) -> LayoutStore:
        """Open the layout at ``root``, for reading at least.

        Raises:
            StoreNotFound: there is none.
            NewerFormat: its version is unknown.
        """
        store = cls(root)
        if not (root / LAYOUT_FILE).is_file():
            raise StoreNotFound(
                f"{root}: there is no store here",
                hint="`xttsreg fetch`, `add` and `import` make one; --store names another place",
            )
        store._check_version()
        return store

    def _establish(self) -> None:
        """Make an empty layout where there is none. The caller maps the disk's errors."""
        if not (self.root / LAYOUT_FILE).exists():
            durable.make_directory(self._blobs)
            self._write(LAYOUT_FILE, LAYOUT)

    def _check_version(self) -> None:
        with durable.disk_errors(self.root):
            data = durable.read_small(self.root / LAYOUT_FILE, MAX_MANIFEST_BYTES)
        version = load_strict(data, what=LAYOUT_FILE).get("imageLayoutVersion")
        if version != LAYOUT_VERSION:
            raise NewerFormat(
                f"{self.root}: layout version {version!r}, known is {LAYOUT_VERSION}",
                hint="use a newer xttsreg for this store",
            )

    def is_writable(self) -> bool:
        """Whether this process may write here, as far as permissions and mount flags tell."""
        return os.access(durable.existing_parent(self.root), os.W_OK)

    # --- blobs -------------------------------------------------------------------------------

    def blob_path(self, digest: Digest) -> Path:
        """Where a blob is or would be."""
        return self._blobs / digest.hex

    def has(
        self, blob: Descriptor, *, use_cache: bool = True, advance: Advance = no_advance
    ) -> bool:
        """Whether the blob is there and right; hashes it if no record covers it."""
        try:
            if use_cache and (known := self.open_known(blob)):
                known.close()
                advance(blob.size_bytes)
            else:
                self.open_proven(blob, advance).close()
        except (BlobNotFound, IntegrityError, OSError):
            return False
        return True

    def open_known(self, blob: Descriptor) -> BinaryIO | None:
        """The blob's bytes if a record covers this very file; None if they want a hash first."""
        file = self.open(blob)
        status = os.fstat(file.fileno())
        if status.st_size == blob.size_bytes and self._verified.covers(blob.digest, status):
            return file
        file.close()
        return None

    def open_proven(self, blob: Descriptor, advance: Advance = no_advance) -> BinaryIO:
        """The blob's bytes, all of them hashed before the first one is handed out.

        Raises:
            BlobNotFound, SizeMismatch, DigestMismatch: as the names say.
        """
        file = self.open(blob)
        try:
            status = os.fstat(file.fileno())
            prove(file, blob, advance)
            file.seek(0)
        except BaseException as error:
            file.close()
            if isinstance(error, IntegrityError):
                self._verified.forget(blob.digest)
            raise
        self._verified.record(blob.digest, status)
        return file

    def open(self, blob: Descriptor) -> BinaryIO:
        """The blob's bytes, not yet verified. See `base.BlobSource.open`."""
        path = self.blob_path(blob.digest)
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            raise BlobNotFound(
                f"blob {blob.digest} is not in {self.root}",
                hint="fetch or import the set again; what is there is kept",
            ) from None
        except OSError as error:
            raise IntegrityError(f"{path}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise IntegrityError(f"{path}: not a regular file")
        return durable.BlobFile(descriptor, path)

    def put(self, blob: Descriptor, source: Readable, advance: Advance = no_advance) -> None:
        """Take a blob in. See `base.Target.put`."""
        with self.writing():
            self.stage(blob, source, advance)()

    def stage(
        self, blob: Descriptor, source: Readable, advance: Advance = no_advance
    ) -> Callable[[], None]:
        """Take a blob in, proven and durable but under no name yet.

        Returns:
            The function that publishes it. Without that call, it goes when `writing` ends.
        """
        with self._writer(blob) as writer:
            while chunk := source.read(CHUNK_BYTES):
                writer.write(chunk)
                advance(len(chunk))
            temporary = writer.finish()
        return lambda: self._publish(temporary, blob)

    def stage_file(
        self, blob: Descriptor, path: Path, advance: Advance = no_advance, *, hardlink: bool = False
    ) -> Callable[[], None]:
        """Like `stage`, from a file on this machine: by clone where the filesystem has that.

        Args:
            blob: What the file must be.
            path: The file.
            advance: Watches.
            hardlink: Also take the file over by a hard link. Whoever writes to it later writes
                into the store; so only for files that are given to us, such as a bundle's.
        """
        temporary = self._held().temporary()
        with durable.disk_errors(path, blob.size_bytes):
            if not (
                links.reflink(path, temporary) or (hardlink and links.hardlink(path, temporary))
            ):
                with path.open("rb", buffering=0) as file:
                    return self.stage(blob, file, advance)
            durable.check_file(temporary, blob, what=path.name, advance=advance)
        return lambda: self._publish(temporary, blob)

    def stage_given(
        self, blob: Descriptor, path: Path, advance: Advance = no_advance
    ) -> Callable[[], None]:
        """Like `stage`, from a file of this store's state, which is moved and not copied.

        Raises:
            SizeMismatch, DigestMismatch: and the file is gone.
        """
        durable.check_file(path, blob, what=path.name, advance=advance)
        return lambda: self._publish(path, blob)

    def file_of(self, blob: Descriptor) -> Path | None:
        """The blob as one regular file, to be linked or cloned; None if it is not in one.

        Raises:
            BlobNotFound, IntegrityError: as `open`.
        """
        self.open(blob).close()
        return self.blob_path(blob.digest)

    def partial_path(self, digest: Digest) -> Path:
        """Where `resumable` keeps what it has so far."""
        return self.state / "partial" / digest.hex

    @contextlib.contextmanager
    def resumable(self, blob: Descriptor) -> Iterator[BlobWriter | None]:
        """A writer that goes on where a killed process stopped; ``None`` if the blob is there.

        One process at a time has it for a blob; others wait, and then find the blob.
        """
        partial = self.partial_path(blob.digest)
        with self.writing(), durable.disk_errors(partial, blob.size_bytes):
            durable.make_directory(partial.parent)
            with FileLock(f"{partial}.lock", thread_local=False):
                if self.has(blob):
                    yield None
                    return
                target = self.blob_path(blob.digest)
                writer = BlobWriter(partial, target, blob, resume=True)
                try:
                    yield writer
                finally:
                    writer.keep()
                if writer.committed:
                    self._note(blob)

    @contextlib.contextmanager
    def _writer(self, blob: Descriptor) -> Iterator[BlobWriter]:
        temporary = self._held().temporary()
        with durable.disk_errors(self.root, blob.size_bytes):
            writer = BlobWriter(temporary, self.blob_path(blob.digest), blob)
            try:
                yield writer
            except BaseException:
                writer.discard()
                raise

    def _publish(self, temporary: Path, blob: Descriptor) -> None:
        with durable.disk_errors(self.root):
            durable.publish(temporary, self.blob_path(blob.digest))
        self._note(blob)

    def _note(self, blob: Descriptor) -> None:
        with contextlib.suppress(OSError):
            self._verified.record(blob.digest, self.blob_path(blob.digest).stat())

    def put_bytes(self, media_type: str, data: bytes) -> Descriptor:
        """Take small content in."""
        blob = Descriptor(media_type=media_type, digest=Digest.of(data), size_bytes=len(data))
        if not self.has(blob):
            self.put(blob, io.BytesIO(data))
        return blob

    def blob_digests(self) -> Iterator[Digest]:
        """Every blob that is there, referenced or not."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._blobs) as found:
            for entry in found:
                with contextlib.suppress(ValueError):
                    if not entry.is_dir():
                        yield Digest.from_hex(entry.name)

    def remove_blob(self, digest: Digest) -> None:
        """Remove a blob. Only `gc` knows when that is right."""
        with durable.disk_errors(self.root):
            self.blob_path(digest).unlink(missing_ok=True)
        self._verified.forget(digest)

    # --- index -------------------------------------------------------------------------------

    def index(self) -> Index:
        """``index.json``; an empty one if there is none yet. See `spare.IndexReader`."""
        with durable.disk_errors(self.root):
            return self._index.read()

    def entries(self) -> tuple[Descriptor, ...]:
        """See `base.Source.entries`."""
        return self.index().manifests

    def tags(self) -> Mapping[str, Descriptor]:
        """See `base.Source.tags`."""
        return self.index().tags()

    def referrers(self, subject: Digest) -> list[tuple[Descriptor, Manifest]]:
        """See `base.Source.referrers`."""
        return find_referrers(self, subject)

    def tag(self, tagged: str, manifest: Descriptor) -> None:
        """See `base.Target.tag`."""
        self._require_blob(manifest)
        self.change_index(lambda index: index.with_tag(tagged, manifest))

    def untag(self, tagged: str) -> None:
        """See `base.Store.untag`."""

        def change(index: Index) -> Index:
            if index.find(tagged) is None:
                raise TagNotFound(f"{tagged}: not in this store")
            return index.without_tag(tagged)

        self.change_index(change)

    def hold(self, manifest: Descriptor) -> None:
        """See `base.Target.hold`."""
        self._require_blob(manifest)
        self.change_index(lambda index: index.with_untagged(manifest))

    def release(self, digest: Digest) -> None:
        """See `base.Store.release`."""
        self.change_index(lambda index: index.without_digest(digest))

    def change_index(self, change: Callable[[Index], Index]) -> None:
        """Replace the index by a function of itself, under the store's lock."""
        with self.locked():
            self.change_index_locked(change)

    def change_index_locked(self, change: Callable[[Index], Index]) -> None:
        """`change_index` for a caller that holds the lock already."""
        with durable.disk_errors(self.root):
            before = self.index()
            data = change(before).to_bytes()
            if data != before.to_bytes() or not (self.root / INDEX_FILE).exists():
                self._write_index(data)

    def replace_index(self, index: Index) -> None:
        """Write an index in the place of one that cannot be read any more."""
        with self.locked(), durable.disk_errors(self.root):
            durable.give_way(self.root / INDEX_FILE)
            self._write_index(index.to_bytes())

    def _write_index(self, data: bytes) -> None:
        self._write(INDEX_FILE, data)
        spare.keep(self.state, self.root / INDEX_FILE, data)

    def _require_blob(self, blob: Descriptor) -> None:
        self.open(blob).close()

    def _write(self, name: str, data: bytes) -> None:
        durable.make_directory(self.state)
        temporary = self.state / f"{name}.{uuid.uuid4().hex}.tmp"
        durable.write_atomic(self.root / name, data, temporary=temporary)

    # --- locks -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        """Hold the store's lock: for changes to the index, and for `gc`. Short spans only.

        Raises:
            StoreLocked: another process holds it for longer than ``timeout_s``.
        """
        with durable.disk_errors(self.root):
            self._establish()
            durable.make_directory(self.state)
            lock = FileLock(self.state / "lock", timeout=timeout_s, thread_local=False)
            try:
                lock.acquire()
            except Timeout:
                raise StoreLocked(
                    f"{self.root}: locked by another process for {timeout_s:.0f} s",
                    hint="wait until it is done; a lock ends with its process by itself",
                ) from None
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def writing(self) -> Iterator[lease.Lease]:
        """Hold a lease: nothing written in this span is litter to `gc`. Re-entrant."""
        with self._lease_guard:
            if self._lease is None:
                with self.locked(), durable.disk_errors(self.root):
                    self.sweep()
                    self._lease = lease.open_lease(self.state)
            self._lease_users += 1
            held = self._lease
        try:
            yield held
        finally:
            with self._lease_guard:
                self._lease_users -= 1
                if self._lease_users == 0:
                    self._lease = None
                    with durable.disk_errors(self.root):
                        held.close()

    def reading(self) -> AbstractContextManager[object]:
        """Keep what is there from `gc` while it is read; a read-only store has no `gc`."""
        return self.writing() if self.is_writable() else contextlib.nullcontext()

    def sweep(self) -> None:
        """Remove temporary files of processes that died. The caller holds the lock."""
        for directory in lease.dead_leases(self.state):
            durable.remove_tree(directory)

    def _held(self) -> lease.Lease:
        if self._lease is None:
            raise RuntimeError("stage() outside of writing()")
        return self._lease
