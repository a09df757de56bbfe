"""What a manifest is: weights, a voice, a dataset, a run, an environment. By its artifact type."""

from __future__ import annotations

import re
from typing import Literal

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.manifest import Manifest
from xttsreg.content.modelpack import ARTIFACT_TYPE as MODEL_TYPE
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidModel

DATASET_TYPE = "application/vnd.xttsreg.dataset.v1+json"
RUN_TYPE = "application/vnd.xttsreg.run.v1+json"
ENVIRONMENT_TYPE = "application/vnd.xttsreg.environment.v1+json"

LINEAGE = "io.xttsreg.lineage."
"""Prefix of the annotations that say where a voice or a run comes from."""
BASE = LINEAGE + "base"
"""``name:tag@digest`` of the weight set or voice that training started from."""
DATASET = LINEAGE + "dataset"
"""Digest of the dataset's manifest; see `ops.datasets`."""
FILES = "io.xttsreg.files"
"""How many files an artifact holds, where that is not the number of its layers."""

Kind = Literal["weights", "voice", "dataset", "run", "environment", "other"]

_KINDS: dict[str | None, Kind] = {
    DATASET_TYPE: "dataset",
    RUN_TYPE: "run",
    ENVIRONMENT_TYPE: "environment",
}
_WORDS = {
    "weights": "a weight set",
    "voice": "a voice",
    "dataset": "a dataset",
    "run": "a training run",
    "environment": "a Python environment",
    "other": "something of another tool",
}
_USES = {
    "weights": "xttsreg train --model {}",
    "voice": "xttsreg synth {}",
    "dataset": "xttsreg train --dataset {}",
    "run": "xttsreg checkout {} DIR, then xttsreg train --resume DIR",
    "environment": "xttsreg checkout {} DIR writes its wheels",
    "other": "xttsreg inspect {} shows what is in it",
}
_TERMS = re.compile(r"(licen[sc]e|copying)([-_.].*)?", re.I)


def kind_of(manifest: Manifest) -> Kind:
    """What a manifest is. ``voice`` is what was trained here; other weights are ``weights``."""
    if manifest.artifact_type == MODEL_TYPE:
        return "voice" if BASE in manifest.annotations else "weights"
    known = _KINDS.get(manifest.artifact_type)
    if known is None and "model.pth" in {layer.file_path for layer in manifest.layers}:
        return "weights"  # as another tool, or an older one, names its type
    return known or "other"


def word_for(manifest: Manifest) -> str:
    """What a manifest is, for people: ``a weight set``."""
    return _WORDS[kind_of(manifest)]


def require_kind(reference: Reference, manifest: Manifest, *wanted: Kind) -> None:
    """Make sure that a name means something of the kind that is needed.

    Raises:
        InvalidModel: says what it is instead, and what that is good for.
    """
    kind = kind_of(manifest)
    if kind not in wanted:
        words = " or ".join(_WORDS[each] for each in wanted)
        raise InvalidModel(
            f"{reference.tagged}: is {_WORDS[kind]}, and {words} is needed here",
            hint=f"what it is good for: {_USES[kind].format(reference.tagged)}",
        )


def require_model(reference: Reference, manifest: Manifest) -> None:
    """`require_kind` for what has weights of a model in it."""
    require_kind(reference, manifest, "weights", "voice")


def count_files(manifest: Manifest) -> int:
    """How many files a manifest stands for."""
    noted = manifest.annotations.get(FILES, "")
    return int(noted) if noted.isdecimal() else len(manifest.layers)


def is_terms(path: str) -> bool:
    """Whether a file at the top of a folder holds terms, by its name.

    >>> is_terms("LICENSE.txt"), is_terms("licence"), is_terms("texts/LICENSE")
    (True, True, False)
    """
    return bool(_TERMS.fullmatch(path))


def terms_of(manifest: Manifest) -> dict[str, Descriptor]:
    """The files with terms that travel in an artifact, by name."""
    return {path: layer for path, layer in manifest.files().items() if is_terms(path)}
