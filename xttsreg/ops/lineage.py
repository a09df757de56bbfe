"""Where a voice comes from, in its manifest's annotations."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from xttsreg.content.artifacts import BASE, DATASET, LINEAGE
from xttsreg.content.descriptor import CREATED, Descriptor
from xttsreg.content.manifest import MANIFEST_TYPE, Manifest
from xttsreg.content.modelpack import (
    CONFIG_TYPE,
    LICENSES,
    REVISION,
    SOURCE,
    ModelInfo,
    build_model,
    file_layer,
)
from xttsreg.content.reference import Reference
from xttsreg.content.stream import digest_stream
from xttsreg.errors import AlreadyExists, XttsregError
from xttsreg.ops import licensing
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores.base import read_manifest, resolve
from xttsreg.stores.durable import disk_errors
from xttsreg.stores.layout import LayoutStore

CONFIG = LINEAGE + "config"
"""Digest of the training configuration, a layer of the voice."""
AUTHOR = "org.opencontainers.image.authors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a voice comes from.

    Attributes:
        dataset_digest: Over the training data.
        config_path: File name, in the voice's directory, of the training configuration.
        created: RFC 3339, UTC.
        author: Who trained.
        facts: More, without prefix: versions, metrics, counts.
    """

    dataset_digest: str
    config_path: str
    created: str
    author: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Base:
    """What a voice is trained from, read before the training so that nothing can be lost later.

    Attributes:
        reference: With digest.
        manifest: Proven.
        acceptance: The yes to its terms, if they want one.
    """

    reference: Reference
    manifest: Manifest
    acceptance: licensing.Acceptance | None


def load_base(store: LayoutStore, reference: Reference) -> tuple[Descriptor, Base]:
    """Resolve and read a base.

    Raises:
        TagNotFound, BlobNotFound, IntegrityError: it is not there, or not right.
    """
    entry = resolve(store, reference)
    manifest = read_manifest(store, entry)
    exact = Reference(reference.name, reference.tag, entry.digest)
    return entry, Base(exact, manifest, licensing.find_acceptance(store, entry, manifest))


def free_reference(store: LayoutStore, wanted: Reference) -> Reference:
    """``wanted`` if that is free, else the next ``vN`` of its name."""
    # Not parsed: other tools may have put tags here that are no references of ours.
    split = [tagged.rpartition(":") for tagged in store.tags()]
    taken = {tag for name, _, tag in split if name == wanted.name}
    if wanted.tag not in taken:
        return wanted
    numbers = [int(tag[1:]) for tag in taken if tag[:1] == "v" and tag[1:].isdigit()]
    return Reference(wanted.name, f"v{max(numbers, default=0) + 1}")


def made_before(
    store: LayoutStore, wanted: Reference, lineage: Lineage
) -> tuple[Reference, Descriptor] | None:
    """Return the voice that this very run has registered already, under any tag of its name.

    A process that is killed between the two cannot note in the run's folder what it registered.
    """
    facts = {LINEAGE + key: value for key, value in lineage.facts.items()}
    facts[DATASET] = lineage.dataset_digest
    for tagged, entry in store.tags().items():
        name, _, tag = tagged.rpartition(":")
        if name == wanted.name:
            with suppress(XttsregError):  # another one, and damaged
                notes = read_manifest(store, entry).annotations
                if facts.items() <= notes.items():
                    return Reference(name, tag), entry
    return None


def register_voice(
    store: LayoutStore,
    reference: Reference,
    directory: Path,
    lineage: Lineage,
    base: Base,
    *,
    progress: Progress = QUIET,
) -> Descriptor:
    """Take a trained voice in, with its lineage; the base's terms and their acceptance go along.

    Raises:
        AlreadyExists: the reference is taken; see `free_reference`.
    """
    if reference.tagged in store.tags():
        raise AlreadyExists(f"{reference}: exists already", hint="give another --name")
    paths = sorted(path for path in directory.iterdir() if path.is_file())
    layers = []
    for path in paths:
        with disk_errors(path), path.open("rb", buffering=0) as file:
            layers.append(file_layer(path.name, *digest_stream(file)))
    digests = {layer.file_path: layer.digest for layer in layers}
    info = ModelInfo(
        name=reference.name,
        title=f"{reference.name}, a voice on {base.reference.tagged}",
        revision=base.manifest.annotations.get(REVISION, ""),
        source_url=base.manifest.annotations.get(SOURCE, ""),
        licenses=tuple(filter(None, [base.manifest.annotations.get(LICENSES)])),
        acceptance_required=licensing.is_required(base.manifest),
        annotations={
            BASE: str(base.reference),
            DATASET: lineage.dataset_digest,
            CONFIG: digests[lineage.config_path],
            CREATED: lineage.created,
            AUTHOR: lineage.author,
            **{LINEAGE + key: value for key, value in lineage.facts.items()},
        },
    )
    config, manifest = build_model(info, layers)
    return _store(store, reference, directory, config, manifest, base, progress)


def _store(
    store: LayoutStore,
    reference: Reference,
    directory: Path,
    config: bytes,
    manifest: Manifest,
    base: Base,
    progress: Progress,
) -> Descriptor:
    entry = manifest.describe()
    with store.writing():
        for path, layer in manifest.files().items():
            if not store.has(layer):
                with progress.task(path, layer.size_bytes) as advance:
                    store.stage_file(layer, directory / path, advance)()
        store.put_bytes(CONFIG_TYPE, config)
        store.put_bytes(MANIFEST_TYPE, manifest.to_bytes())
        store.tag(reference.tagged, entry)
        if base.acceptance:
            licensing.record(store, entry, manifest, base.acceptance)
    return entry
