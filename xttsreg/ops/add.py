"""Files that are there already, such as a TTS cache or a recipe's folder, into the store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from xttsreg.catalog import Catalog, WeightSet
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import MANIFEST_TYPE, Manifest
from xttsreg.content.modelpack import (
    CONFIG_TYPE,
    INFER_FILES,
    LICENSE_FILE,
    TRAIN_FILES,
    ModelInfo,
    build_model,
    file_layer,
)
from xttsreg.content.reference import Reference
from xttsreg.content.stream import Advance, digest_stream
from xttsreg.errors import (
    DigestMismatch,
    InvalidInputError,
    NotFoundError,
    SizeMismatch,
)
from xttsreg.ops import globals, licensing
from xttsreg.ops.naming import require_no_digest, require_same_meaning
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores.durable import disk_errors
from xttsreg.stores.layout import LayoutStore

OWN_SET_FILES = tuple(dict.fromkeys((*TRAIN_FILES, *INFER_FILES, "hash.md5", LICENSE_FILE)))
"""What belongs to a set of one's own; anything else in the directory is left alone."""


@dataclass(frozen=True, slots=True)
class Added:
    """What an add did.

    Attributes:
        tagged: The name in the store.
        manifest: What it points at.
        paths: The files that were taken.
        ignored: Files in the directory that do not belong to a weight set.
    """

    tagged: str
    manifest: Descriptor
    paths: Sequence[str]
    ignored: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Plan:
    """A set that is about to be taken in: every file hashed, nothing written yet."""

    reference: Reference
    directory: Path
    paths: Sequence[str]
    config: bytes
    manifest: Manifest
    ignored: Sequence[str] = ()


def add(
    store: LayoutStore,
    reference: Reference,
    directory: Path,
    catalog: Catalog,
    *,
    ask: licensing.Ask,
    force: bool = False,
    allow_globals: Collection[str] = (),
    progress: Progress = QUIET,
) -> Added:
    """Take a directory of weights in.

    A catalogued name is checked against its pins, file by file. Any other name makes a set of
    one's own from the files that XTTS knows by name.

    Args:
        store: Where to.
        reference: What it will be called.
        directory: Where from.
        catalog: What is pinned.
        ask: Gets a yes to the licence, if one is needed.
        force: Move the name if it means something else.
        allow_globals: What pickles may name besides what XTTS's own do; noted beside the set.
        progress: Watches.

    Raises:
        AlreadyExists: the name means something else.
        UnsafePickle: a checkpoint asks for code. Pinned files are known, and not asked.
        InvalidInputError: no directory, or no ``model.pth`` in it.
        NotFoundError: files of a catalogued set are missing; names them.
        SizeMismatch, DigestMismatch: a file is not the pinned one; says which one it is, if known.
        LicenseNotAccepted: nobody said yes.
    """
    if not directory.is_dir():
        raise InvalidInputError(
            f"{directory}: not a directory", hint="give the directory that holds model.pth"
        )
    require_no_digest(reference)
    item = catalog.find(reference)
    if item:
        plan = _plan_pinned(store, item, directory, catalog, progress)
    else:
        plan = _plan_own(reference, directory, catalog, progress)
    entry = plan.manifest.describe()
    # The name of a catalogued set follows the catalogue, as with fetch; any other is the user's.
    if not (item or force):
        require_same_meaning(store, plan.reference, entry)
    terms = licensing.terms_for(plan.reference.tagged, plan.manifest, catalog)
    acceptance = licensing.obtain(store, entry, plan.manifest, terms, ask)
    sources = [(path, directory / path) for path in plan.paths]
    if not item:
        globals.check_files(sources, allow_globals)
    with store.writing():
        _take(store, plan, progress)
        allowed: Collection[str] = ()
        if not item:  # once more, now that nobody else can change the bytes
            allowed = globals.check_manifest(
                plan.manifest, lambda layer: store.blob_path(layer.digest), allow_globals
            )
        store.put_bytes(CONFIG_TYPE, plan.config)
        store.put_bytes(MANIFEST_TYPE, plan.manifest.to_bytes())
        store.tag(plan.reference.tagged, entry)
        if acceptance:
            licensing.record(store, entry, plan.manifest, acceptance)
        globals.record(store, entry, allowed)
    return Added(plan.reference.tagged, entry, plan.paths, plan.ignored)


def _take(store: LayoutStore, plan: _Plan, progress: Progress) -> None:
    """Copy the files, and publish them once all are proven to be what was hashed."""
    files, done = plan.manifest.files(), []
    for path in plan.paths:
        layer = files[path]
        if not store.has(layer):
            with progress.task(path, layer.size_bytes) as advance:
                done.append(store.stage_file(layer, plan.directory / path, advance))
    for publish in done:
        publish()


def _plan_pinned(
    store: LayoutStore, item: WeightSet, directory: Path, catalog: Catalog, progress: Progress
) -> _Plan:
    config, manifest = item.model()
    files = manifest.files()
    present = [path for path in files if (directory / path).is_file()]
    missing = [path for path in files if path not in present and not store.has(files[path])]
    if missing:
        raise NotFoundError(
            f"{directory}: {item.reference.tagged} also needs {', '.join(missing)}",
            hint=f"`xttsreg fetch {item.reference.tagged} --from {directory}` fetches the rest",
        )
    for path in present:
        with progress.task(f"check {path}", files[path].size_bytes) as advance:
            _check_pin(directory / path, files[path], catalog, advance)
    return _Plan(item.reference, directory, present, config, manifest)


def _check_pin(source: Path, layer: Descriptor, catalog: Catalog, advance: Advance) -> None:
    digest, size_bytes = _hash(source, advance)
    known = catalog.identify(digest)
    hint = f"this file is {known}" if known else "this file is in no catalogue; fetch it again"
    if size_bytes != layer.size_bytes:
        raise SizeMismatch(
            str(source), expected_bytes=layer.size_bytes, actual_bytes=size_bytes, hint=hint
        )
    if digest != layer.digest:
        raise DigestMismatch(str(source), expected=layer.digest, actual=digest, hint=hint)


def _plan_own(reference: Reference, directory: Path, catalog: Catalog, progress: Progress) -> _Plan:
    names = sorted(path.name for path in directory.iterdir() if path.is_file())
    taken = [name for name in names if name in OWN_SET_FILES]
    if "model.pth" not in taken:
        raise InvalidInputError(
            f"{directory}: no model.pth in it",
            hint=f"a weight set has some of: {', '.join(OWN_SET_FILES)}",
        )
    layers = []
    for name in taken:
        with progress.task(f"hash {name}", (directory / name).stat().st_size) as advance:
            layers.append(file_layer(name, *_hash(directory / name, advance)))
    item = _same_license(layers, catalog)
    info = ModelInfo(
        name=reference.name,
        licenses=(item.license.id,) if item else (),
        acceptance_required=item.license.acceptance_required if item else False,
    )
    config, manifest = build_model(info, layers)
    ignored = [name for name in names if name not in taken]
    return _Plan(reference, directory, taken, config, manifest, ignored)


def _hash(path: Path, advance: Advance) -> tuple[Digest, int]:
    with disk_errors(path), path.open("rb", buffering=0) as file:
        return digest_stream(file, advance)


def _same_license(layers: Sequence[Descriptor], catalog: Catalog) -> WeightSet | None:
    """A catalogued set with the very same licence text, whose terms then hold here too."""
    digests = {layer.digest.hex for layer in layers if layer.file_path == LICENSE_FILE}
    for item in catalog.sets().values():
        pinned = item.file(item.license.path)
        if pinned and pinned.sha256 in digests:
            return item
    return None
