"""What a manifest is, and who says so."""

from __future__ import annotations

import pytest
from support import blob_of

from xttsreg.content.artifacts import (
    BASE,
    DATASET_TYPE,
    ENVIRONMENT_TYPE,
    RUN_TYPE,
    Kind,
    kind_of,
    require_kind,
    require_model,
    terms_of,
)
from xttsreg.content.descriptor import FILE_PATH, Descriptor
from xttsreg.content.manifest import Manifest
from xttsreg.content.modelpack import ARTIFACT_TYPE
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidModel

NAME = Reference.parse("team/x:v1")


def file(path: str) -> Descriptor:
    return blob_of(path.encode()).model_copy(update={"annotations": {FILE_PATH: path}})


def manifest(kind: str | None, *paths: str, **annotations: str) -> Manifest:
    layers = tuple(map(file, paths))
    return Manifest(
        artifact_type=kind, config=blob_of(b"{}"), layers=layers, annotations=annotations
    )


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (manifest(ARTIFACT_TYPE), "weights"),
        (manifest(ARTIFACT_TYPE, **{BASE: "x:main@..."}), "voice"),
        (manifest(DATASET_TYPE, "model.pth"), "dataset"),
        (manifest(RUN_TYPE, **{BASE: "x:main@..."}), "run"),
        (manifest(ENVIRONMENT_TYPE), "environment"),
        (manifest("application/vnd.cnai.model.manifest.v1+json", "model.pth"), "weights"),
        (manifest(None, "layer.tar"), "other"),
    ],
)
def test_kinds(made: Manifest, kind: Kind) -> None:
    assert kind_of(made) == kind
    require_kind(NAME, made, kind)
    if kind not in ("weights", "voice"):
        with pytest.raises(InvalidModel, match="a weight set or a voice is needed here") as caught:
            require_model(NAME, made)
        assert "team/x:v1" in (caught.value.hint or "")


def test_terms_are_found_by_name() -> None:
    paths = ["LICENSE", "licence.md", "LICENSE-MIT", "COPYING", "LICENSES", "d/LICENSE", "README"]
    assert list(terms_of(manifest(DATASET_TYPE, *paths))) == paths[:4]
