"""Weight sets as CNCF ModelPack artifacts. Source: model-spec v0.0.7, spec.md and config.md.

One file is one raw layer, so a layer's digest is the file's sha256. A manifest is a function of
its files and facts alone, without times or hosts: the same set has the same manifest digest
everywhere, known before the first byte is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xttsreg.content.canonical import dump_canonical
from xttsreg.content.descriptor import FILE_PATH, TITLE, Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Manifest
from xttsreg.content.paths import check_relative_path
from xttsreg.errors import InvalidManifest

ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
_LAYER = "application/vnd.cncf.model.{}.v1.raw"

# Annotations on the manifest. Ours carry the project's name as prefix.
LICENSES = "org.opencontainers.image.licenses"
REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"
LICENSE_TERMS = "io.xttsreg.license.acceptance"
"""Value ``required``: the terms in the set's licence file want somebody's yes."""

TRAIN_FILES = ("model.pth", "vocab.json", "dvae.pth", "mel_stats.pth")
"""What the XTTS trainer reads. Source: the four paths of ``GPTArgs`` in TTS 0.22.0."""
INFER_FILES = ("model.pth", "vocab.json", "config.json", "speakers_xtts.pth")
"""What ``Xtts.load_checkpoint`` reads from a directory."""
LICENSE_FILE = "LICENSE.txt"
REFERENCE_FILE = "reference.wav"
"""A clip of the speaker, in a voice that was trained with one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Facts about a weight set that are not in its files.

    Attributes:
        name: Short name, e.g. ``xtts_v2``.
        title: One line for people.
        revision: Commit of the upstream repository, if it has one.
        source_url: Where it comes from.
        licenses: SPDX expressions, ``LicenseRef-`` for others.
        acceptance_required: Whether the terms want an explicit yes.
        languages: Codes as the tokenizer has them, e.g. ``zh-cn``.
        annotations: More annotations for the manifest, such as lineage.
    """

    name: str
    title: str = ""
    revision: str = ""
    source_url: str = ""
    licenses: Sequence[str] = ()
    acceptance_required: bool = False
    languages: Sequence[str] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


def roles_of(path: str) -> tuple[str, ...]:
    """What a file is needed for, by its name: of ``train``, ``infer``, ``licence``.

    >>> roles_of("dvae.pth"), roles_of("model.pth")
    (('train',), ('train', 'infer'))
    """
    roles = []
    if path in TRAIN_FILES:
        roles.append("train")
    if path in INFER_FILES:
        roles.append("infer")
    if path == LICENSE_FILE:
        roles.append("licence")
    return tuple(roles)


def layer_type(path: str) -> str:
    """The ModelPack media type of a file, by its name."""
    if path.endswith((".pth", ".pt", ".safetensors")):
        return _LAYER.format("weight")
    if path.endswith((".json", ".md5", ".toml", ".yaml")):
        return _LAYER.format("weight.config")
    return _LAYER.format("doc")


def file_layer(path: str, digest: Digest, size_bytes: int) -> Descriptor:
    """The layer that stands for one file.

    Both names are set: ModelPack tools read one, oras and podman the other.
    """
    check_relative_path(path)
    return Descriptor(
        media_type=layer_type(path),
        digest=digest,
        size_bytes=size_bytes,
        annotations={FILE_PATH: path, TITLE: path},
    )


def build_model(info: ModelInfo, layers: Sequence[Descriptor]) -> tuple[bytes, Manifest]:
    """Configuration blob and manifest of a weight set.

    Args:
        info: Facts.
        layers: From `file_layer`, in any order.

    Raises:
        InvalidManifest: there are no files.
        UnsafePath: two files have one name.
    """
    if not layers:
        raise InvalidManifest(f"{info.name}: a weight set without files")
    ordered = sorted(layers, key=lambda layer: layer.file_path or "")
    config = dump_canonical(_model_config(info, ordered))
    manifest = Manifest(
        artifact_type=ARTIFACT_TYPE,
        config=Descriptor(media_type=CONFIG_TYPE, digest=Digest.of(config), size_bytes=len(config)),
        layers=tuple(ordered),
        annotations=_annotations(info),
    )
    manifest.files()
    return config, manifest


def _model_config(info: ModelInfo, layers: Sequence[Descriptor]) -> dict[str, Any]:
    descriptor = {
        "name": info.name,
        "family": "xtts",
        "title": info.title,
        "revision": info.revision,
        "sourceURL": info.source_url,
        "licenses": list(info.licenses),
    }
    return {
        "descriptor": {key: value for key, value in descriptor.items() if value},
        "config": {
            "architecture": "xtts",
            "format": "pytorch",
            "capabilities": {
                "inputTypes": ["text", "audio"],
                "outputTypes": ["audio"],
                # The schema allows two letters only, so zh-cn becomes zh.
                **({"languages": sorted({code[:2] for code in info.languages})}
                   if info.languages else {}),
            },
        },
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
    }  # fmt: skip


def _annotations(info: ModelInfo) -> dict[str, str]:
    pairs = {
        LICENSES: " AND ".join(info.licenses),
        REVISION: info.revision,
        SOURCE: info.source_url,
        LICENSE_TERMS: "required" if info.acceptance_required else "",
        **info.annotations,
    }
    return {key: value for key, value in pairs.items() if value}
