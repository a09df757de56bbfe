"""A set or voice as an ordinary OCI image, for clusters whose image volumes take no artifacts.

One file is one tar layer below ``models/``, uncompressed and without times and owners: the same
file is the same layer everywhere, so a registry keeps what voices share once. There is no program
in the image; it is for mounting. Source: OCI image-spec, layer.md and config.md.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from xttsreg.content.canonical import dump_canonical
from xttsreg.content.descriptor import CREATED, Descriptor
from xttsreg.content.manifest import INDEX_TYPE, MANIFEST_TYPE, Index, Manifest
from xttsreg.content.modelpack import LICENSE_FILE
from xttsreg.content.reference import Reference
from xttsreg.content.stream import CHUNK_BYTES, VerifyingReader, digest_chunks
from xttsreg.errors import AlreadyExists, InvalidModel
from xttsreg.ops import licensing
from xttsreg.ops.parallel import Cancel, in_parallel
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores.base import read_manifest, resolve
from xttsreg.stores.durable import disk_errors
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.names import LAYOUT_FILE

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
FOLDER = "models"
ARCHITECTURES = ("amd64", "arm64")
"""Runtimes want an image of their own architecture; the layers are the same for all."""
ORIGIN = "io.xttsreg.modelcar.origin"
"""Digest of the manifest that the image was made from."""


@dataclass(frozen=True, slots=True)
class Modelcar:
    """What was written.

    Attributes:
        directory: An OCI image layout.
        tagged: Its tag there.
        index: What that points at: one manifest an architecture.
    """

    directory: Path
    tagged: str
    index: Descriptor


def export_modelcar(
    store: LayoutStore, reference: Reference, directory: Path, *, progress: Progress = QUIET
) -> Modelcar:
    """Write a set, voice or dataset as an image into an OCI layout.

    Args:
        store: Where from.
        reference: What.
        directory: Must not exist, be empty, or be a layout; what that has already is kept.
        progress: Watches.

    Raises:
        AlreadyExists: the directory has something else in it.
        InvalidModel: it has no files, or terms that are not in it.
        TagNotFound, BlobNotFound, IntegrityError: it is not there, incomplete or damaged.
    """
    entry = resolve(store, reference)
    manifest = read_manifest(store, entry)
    files = manifest.files()
    if not files or (licensing.is_required(manifest) and LICENSE_FILE not in files):
        raise InvalidModel(f"{reference.tagged}: has no files, or not the terms it comes under")
    with disk_errors(directory):
        foreign = (
            directory.exists()
            and not (directory / LAYOUT_FILE).exists()
            and any(directory.iterdir())
        )
    if foreign:
        raise AlreadyExists(
            f"{directory}: has something in it that is no OCI layout",
            hint="give a directory that does not exist yet",
        )
    target = LayoutStore.create(directory)

    def layer(path: str, cancel: Cancel) -> Descriptor:
        return _put_layer(store, target, path, files[path], progress, cancel)

    with target.writing():
        layers = in_parallel(layer, list(files))
        parts = [_put_image(target, arch, layers, manifest, entry) for arch in ARCHITECTURES]
        index = Index(manifests=tuple(parts), annotations=_notes(manifest, entry))
        held = target.put_bytes(INDEX_TYPE, index.to_bytes())
        target.tag(reference.tagged, held)
    return Modelcar(directory, reference.tagged, held)


def _put_layer(
    store: LayoutStore,
    target: LayoutStore,
    path: str,
    file: Descriptor,
    progress: Progress,
    cancel: Cancel,
) -> Descriptor:
    with progress.task(path, 2 * file.size_bytes) as advance:
        # Once for the digest that the layer will have, once more to write it.
        digest, size_bytes = digest_chunks(_tar(store, path, file), cancel.watch(advance))
        layer = Descriptor(media_type=LAYER_TYPE, digest=digest, size_bytes=size_bytes)
        if not target.has(layer):
            target.put(layer, _Joined(_tar(store, path, file)), cancel.watch(advance))
    return layer


def _tar(store: LayoutStore, path: str, file: Descriptor) -> Iterator[bytes]:
    """A tar with one file and the folders above it; proven while it is read."""
    full = PurePosixPath(FOLDER, path)
    for folder in reversed(full.parents[:-1]):
        info = tarfile.TarInfo(str(folder))
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        yield info.tobuf(tarfile.GNU_FORMAT)
    info = tarfile.TarInfo(str(full))
    info.size, info.mode = file.size_bytes, 0o444
    yield info.tobuf(tarfile.GNU_FORMAT)
    with store.open(file) as raw:
        reader = VerifyingReader(raw, file, what=path)
        while chunk := reader.read(CHUNK_BYTES):
            yield chunk
    padding = -file.size_bytes % tarfile.BLOCKSIZE
    yield bytes(padding + 2 * tarfile.BLOCKSIZE)


class _Joined:
    """Pieces as something to read from; gives one piece at a time, whatever is asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, size: int = -1, /) -> bytes:
        """The next piece; empty at the end."""
        return next(self._pieces, b"")


def _put_image(
    target: LayoutStore,
    architecture: str,
    layers: list[Descriptor],
    origin: Manifest,
    entry: Descriptor,
) -> Descriptor:
    created = origin.annotations.get(CREATED)
    config = {
        **({"created": created} if created else {}),
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    }
    image = Manifest(
        config=target.put_bytes(CONFIG_TYPE, dump_canonical(config)),
        layers=tuple(layers),
        annotations=_notes(origin, entry),
    )
    held = target.put_bytes(MANIFEST_TYPE, image.to_bytes())
    platform = {"architecture": architecture, "os": "linux"}
    return Descriptor.model_validate({**held.to_json(), "platform": platform})


def _notes(origin: Manifest, entry: Descriptor) -> dict[str, str]:
    return {**origin.annotations, ORIGIN: entry.digest}
