from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from xttsreg.content.descriptor import FILE_PATH, TITLE
from xttsreg.content.digest import Digest
from xttsreg.content.modelpack import (
    LICENSE_TERMS,
    ModelInfo,
    build_model,
    file_layer,
    layer_type,
    roles_of,
)
from xttsreg.errors import InvalidManifest, UnsafePath

INFO = ModelInfo(
    name="x",
    title="An x",
    revision="c0ffee",
    source_url="https://h/x",
    licenses=("LicenseRef-A",),
    acceptance_required=True,
    languages=("en", "zh-cn", "zh-tw"),
)
LAYERS = [
    file_layer(name, Digest.of(name.encode()), i)
    for i, name in enumerate(["model.pth", "vocab.json", "LICENSE.txt", "dvae.pth", "sub/a.toml"])
]

# The JSON schema of model-spec v0.0.7, config.md, as far as we write it: the allowed keys.
DESCRIPTOR = {
    "createdAt", "authors", "family", "name", "docURL", "sourceURL", "datasetsURL", "version",
    "revision", "vendor", "licenses", "title", "description",
}  # fmt: skip
CONFIG = {"architecture", "format", "paramSize", "precision", "quantization", "capabilities"}
CAPABILITIES = {
    "inputTypes", "outputTypes", "knowledgeCutoff", "reasoning", "toolUsage", "reward", "languages",
}  # fmt: skip
MODALITIES = {"text", "image", "audio", "video", "embedding", "other"}


def check_model_config(config: dict[str, Any]) -> None:
    """What the schema asks for; ``additionalProperties`` is false everywhere in it."""
    assert set(config) == {"descriptor", "config", "modelfs"}
    assert set(config["descriptor"]) <= DESCRIPTOR
    assert all(isinstance(v, str) for k, v in config["descriptor"].items() if k != "licenses")
    assert set(config["config"]) <= CONFIG
    capabilities = config["config"]["capabilities"]
    assert set(capabilities) <= CAPABILITIES
    assert set(capabilities["inputTypes"] + capabilities["outputTypes"]) <= MODALITIES
    assert all(re.fullmatch("[a-z]{2}", code) for code in capabilities.get("languages", []))
    assert set(config["modelfs"]) == {"type", "diffIds"}
    assert config["modelfs"]["type"] == "layers"
    assert len(config["modelfs"]["diffIds"]) >= 1


@pytest.mark.parametrize("info", [INFO, ModelInfo(name="bare")])
def test_the_configuration_follows_the_schema(info: ModelInfo) -> None:
    data, manifest = build_model(info, LAYERS)
    config = json.loads(data)
    check_model_config(config)
    assert config["modelfs"]["diffIds"] == [layer.digest for layer in manifest.layers]
    assert manifest.config.digest == Digest.of(data)
    assert manifest.config.size_bytes == len(data)


def test_languages_are_two_letters_and_distinct() -> None:
    config = json.loads(build_model(INFO, LAYERS)[0])
    assert config["config"]["capabilities"]["languages"] == ["en", "zh"]


def test_the_same_input_in_any_order_gives_the_same_bytes() -> None:
    config, manifest = build_model(INFO, LAYERS)
    for seed in range(5):
        shuffled = random.Random(seed).sample(LAYERS, len(LAYERS))
        assert build_model(INFO, shuffled) == (config, manifest)
    # Pinned: if this digest changes, every store and bundle in the world has other manifests.
    assert manifest.describe().digest.short == PINNED


PINNED = "5cddc2d25569"


def test_the_types_of_the_format() -> None:
    _, manifest = build_model(INFO, LAYERS)
    assert manifest.artifact_type == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest.config.media_type == "application/vnd.cncf.model.config.v1+json"
    allowed = re.compile(
        r"application/vnd\.cncf\.model\.(weight|weight\.config|doc|code|dataset)\.v1\.raw"
    )
    assert all(allowed.fullmatch(layer.media_type) for layer in manifest.layers)
    assert layer_type("a.pth").endswith(".weight.v1.raw")
    assert layer_type("a.json").endswith(".weight.config.v1.raw")
    assert layer_type("LICENSE.txt").endswith(".doc.v1.raw")


def test_both_names_are_on_every_layer() -> None:
    for layer in build_model(INFO, LAYERS)[1].layers:
        assert layer.annotations[FILE_PATH] == layer.annotations[TITLE]


def test_a_fact_of_the_set_changes_its_digest() -> None:
    digests = {
        build_model(info, layers)[1].describe().digest
        for info, layers in [
            (INFO, LAYERS),
            (INFO, LAYERS[1:]),
            (ModelInfo(name="x"), LAYERS),
            (ModelInfo(name="x", annotations={"a": "b"}), LAYERS),
        ]
    }
    assert len(digests) == 4


def test_terms_are_marked() -> None:
    assert build_model(INFO, LAYERS)[1].annotations[LICENSE_TERMS] == "required"
    assert LICENSE_TERMS not in build_model(ModelInfo(name="x"), LAYERS)[1].annotations


def test_refuses_no_files_two_of_a_name_and_unsafe_ones() -> None:
    with pytest.raises(InvalidManifest):
        build_model(INFO, [])
    with pytest.raises(UnsafePath):
        build_model(INFO, [LAYERS[0], file_layer("MODEL.pth", Digest.of(b""), 0)])
    with pytest.raises(UnsafePath):
        file_layer("../model.pth", Digest.of(b""), 0)


@pytest.mark.parametrize(
    ("path", "roles"),
    [
        ("model.pth", ("train", "infer")),
        ("dvae.pth", ("train",)),
        ("config.json", ("infer",)),
        ("LICENSE.txt", ("licence",)),
        ("sub/model.pth", ()),
    ],
)
def test_roles(path: str, roles: tuple[str, ...]) -> None:
    assert roles_of(path) == roles
