"""A voice as a folder that stock TTS reads, with its terms and its lineage beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xttsreg.content.artifacts import BASE, DATASET, LINEAGE, require_model
from xttsreg.content.descriptor import CREATED, Descriptor
from xttsreg.content.manifest import Manifest
from xttsreg.content.modelpack import INFER_FILES, LICENSE_FILE, LICENSES, roles_of
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidModel
from xttsreg.ops import lineage
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.ops.show import describe
from xttsreg.ops.views import Mode, checkout
from xttsreg.stores.base import read_manifest, resolve
from xttsreg.stores.layout import LayoutStore

LINEAGE_FILE = "lineage.json"
_NEEDED = tuple(name for name in INFER_FILES if name != "speakers_xtts.pth")  # stock can do without
_ONLY_TRAIN = ("train",)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the folder, its files, and how they got there."""

    directory: Path
    files: tuple[str, ...]
    mode: Mode

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON types."""
        return {"directory": str(self.directory), "files": list(self.files), "mode": self.mode}


def export(
    store: LayoutStore, reference: Reference, directory: Path, *, progress: Progress = QUIET
) -> Exported:
    """Write what inference needs as plain files, with the terms and where it all comes from.

    ``Xtts.load_checkpoint(config, checkpoint_dir=directory, strict=True)`` reads it. The files are
    the user's own: nothing that is done to them reaches the store.

    Args:
        store: Where from.
        reference: A voice or a weight set.
        directory: Must not exist, be empty, or hold what a killed export of it has left.
        progress: Watches.

    Raises:
        InvalidModel: the set cannot be used for inference, or its terms are not in it.
        AlreadyExists: the directory has something in it.
        TagNotFound, BlobNotFound, IntegrityError: the set is not there, incomplete or damaged.
    """
    entry = resolve(store, reference)
    manifest = read_manifest(store, entry)
    require_model(reference, manifest)
    _require_usable(reference, manifest)
    files = {
        path: {"size_bytes": layer.size_bytes, "sha256": layer.digest.hex}
        for path, layer in sorted(manifest.files().items())
        if roles_of(path) != _ONLY_TRAIN
    }
    content = {**describe_origin(store, reference, entry, manifest), "files": files}
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    mode = checkout(
        store, entry, directory, only=files.__contains__,
        beside={LINEAGE_FILE: text.encode()}, progress=progress,
    )  # fmt: skip
    return Exported(directory, (*files, LINEAGE_FILE), mode)


def describe_origin(
    store: LayoutStore, reference: Reference, entry: Descriptor, manifest: Manifest
) -> dict[str, Any]:
    """Where a voice comes from, for people who have only the folder."""
    notes = manifest.annotations
    named = {BASE, DATASET, lineage.CONFIG}
    return {
        "reference": reference.tagged,
        "digest": entry.digest,
        "base": notes.get(BASE),
        "dataset": notes.get(DATASET),
        "training_configuration": notes.get(lineage.CONFIG),
        "author": notes.get(lineage.AUTHOR),
        "created": notes.get(CREATED),
        "facts": {
            key.removeprefix(LINEAGE): value
            for key, value in sorted(notes.items())
            if key.startswith(LINEAGE) and key not in named
        },
        "license": describe(store, reference.tagged, entry)["license"],
    }


def _require_usable(reference: Reference, manifest: Manifest) -> None:
    missing = [name for name in _NEEDED if name not in manifest.files()]
    if missing:
        raise InvalidModel(
            f"{reference}: cannot speak, it has no {', '.join(missing)}",
            hint="`xttsreg checkout` writes any set as it is",
        )
    if manifest.annotations.get(LICENSES) and LICENSE_FILE not in manifest.files():
        raise InvalidModel(
            f"{reference}: its terms must go along, and it has no {LICENSE_FILE}",
            hint="add the set again from a directory that has the licence's text",
        )
