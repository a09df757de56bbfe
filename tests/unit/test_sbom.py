"""What a bundle says of its content: CycloneDX, and a list of licences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import filled_store, make_small_set, small_wheel

from xttsreg.content.digest import Digest
from xttsreg.content.environment import (
    WHEEL_TYPE,
    EnvironmentConfig,
    Wheel,
)
from xttsreg.errors import AlreadyExists, IntegrityError
from xttsreg.ops.copy import select
from xttsreg.ops.environment.make import put_environment
from xttsreg.ops.naming import require_same_names
from xttsreg.ops.sbom import NOT_STATED, packages_of
from xttsreg.ops.smallfiles import small_files
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore

TAG = "environment:core-cp311-win_amd64"
STATED = {
    "a": ("License-Expression: MIT OR Apache-2.0\n", "MIT OR Apache-2.0"),
    "b": ("License: BSD\nClassifier: License :: OSI Approved :: BSD License\n", "BSD"),
    "c": ("License: UNKNOWN\nClassifier: License :: OSI Approved :: BSD License\n", "BSD License"),
    "d": ("License: The whole\n text, on lines\n", NOT_STATED),
    "e": ("", NOT_STATED),
}


def with_environment(store: LayoutStore, wheels: dict[str, bytes]) -> LayoutStore:
    for data in wheels.values():
        store.put_bytes(WHEEL_TYPE, data)
    entry = put_environment(
        store, EnvironmentConfig(python="3.11", platform="win_amd64"), b"lock",
        [Wheel(file, Digest.of(data), len(data)) for file, data in wheels.items()],
    )  # fmt: skip
    store.tag(TAG, entry)
    return store


@pytest.fixture
def both(tmp_path: Path) -> LayoutStore:
    """A store with weights and an environment."""
    wheels = {f"{n}-1-py3-none-any.whl": small_wheel(n, text) for n, (text, _) in STATED.items()}
    store = filled_store(tmp_path / "s", make_small_set(tmp_path / "w"))
    return with_environment(store, wheels)


def test_each_package_has_the_licence_that_it_states(both: LayoutStore) -> None:
    found = packages_of(both, read_manifest(both, both.tags()[TAG]))
    assert {p.name: p.license for p in found} == {n: told for n, (_, told) in STATED.items()}


def test_the_document_names_weights_and_wheels_with_hashes(both: LayoutStore) -> None:
    files = small_files(both, select(both, both.tags()))
    value = json.loads(files["sbom.cdx.json"])
    assert (value["bomFormat"], value["specVersion"]) == ("CycloneDX", "1.6")
    parts = {component["name"]: component for component in value["components"]}
    assert parts.keys() == {"own:v1", TAG}
    assert parts["own:v1"]["type"] == "machine-learning-model"
    model = read_manifest(both, both.tags()["own:v1"]).files()["model.pth"]
    (file,) = [c for c in parts["own:v1"]["components"] if c["name"] == "model.pth"]
    assert file["hashes"] == [{"alg": "SHA-256", "content": model.digest.hex}]
    package = parts[TAG]["components"][0]
    assert package["purl"] == "pkg:pypi/a@1"
    assert package["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    lines = files[f"licenses/packages-{TAG.replace(':', '-')}.txt"].decode().splitlines()
    assert "a 1  MIT OR Apache-2.0" in lines


def test_it_is_a_function_of_the_content(both: LayoutStore, tmp_path: Path) -> None:
    first = small_files(both, select(both, both.tags()))["sbom.cdx.json"]
    assert small_files(both, select(both, both.tags()))["sbom.cdx.json"] == first
    assert b"timestamp" not in first
    one = {tag: entry for tag, entry in both.tags().items() if tag != TAG}
    other = small_files(both, select(both, one))["sbom.cdx.json"]
    assert json.loads(other)["serialNumber"] != json.loads(first)["serialNumber"]


def test_a_wheel_that_is_none_is_named(tmp_path: Path) -> None:
    store = with_environment(LayoutStore.create(tmp_path / "s"), {"x-1-py3-none-any.whl": b"no"})
    with pytest.raises(IntegrityError, match="x-1-py3-none-any.whl"):
        packages_of(store, read_manifest(store, store.tags()[TAG]))


def test_a_newer_environment_takes_the_name_of_the_one_before(
    both: LayoutStore, tmp_path: Path
) -> None:
    newer = with_environment(
        LayoutStore.create(tmp_path / "n"), {"z-1-py3-none-any.whl": small_wheel("z", "")}
    )
    require_same_names(both, newer.tags(), "the bundle")
    weights = filled_store(tmp_path / "o", make_small_set(tmp_path / "ow", seed=2))
    with pytest.raises(AlreadyExists, match="own:v1"):
        require_same_names(both, weights.tags(), "the bundle")
