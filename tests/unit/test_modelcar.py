"""Images for mounting: their layers repeat, hold the files, and nothing damaged gets in."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from support import blob_file, damage, filled_store, make_small_set, run_cli, tree
from support.registry import Registry, needs_registry

from xttsreg.catalog import Catalog
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Index
from xttsreg.content.reference import Reference
from xttsreg.errors import AlreadyExists, DigestMismatch
from xttsreg.ops.datasets import add_dataset
from xttsreg.ops.modelcar import ORIGIN, export_modelcar
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore

OWN = Reference.parse("own:v1")


def unpack(directory: Path, tagged: str, target: Path) -> dict[str, object]:
    """What a runtime does: every layer over the one before. The configuration of the image."""
    car = LayoutStore.open_existing(directory)
    index = Index.parse(car.blob_path(car.tags()[tagged].digest).read_bytes())
    platforms = [entry.to_json()["platform"]["architecture"] for entry in index.manifests]
    assert sorted(platforms) == ["amd64", "arm64"]
    manifest = read_manifest(car, index.manifests[0])
    config = json.loads(car.blob_path(manifest.config.digest).read_bytes())
    assert config["rootfs"]["diff_ids"] == [layer.digest for layer in manifest.layers]
    for layer in manifest.layers:
        assert car.has(layer, use_cache=False)
        with tarfile.open(car.blob_path(layer.digest)) as tar:
            assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}
            tar.extractall(target, filter="data")
    return {**config, "annotations": manifest.annotations}


def test_it_holds_the_files_and_repeats(filled: LayoutStore, weights: Path, tmp_path: Path) -> None:
    done = export_modelcar(filled, OWN, tmp_path / "car")
    config = unpack(tmp_path / "car", "own:v1", tmp_path / "root")
    assert tree(tmp_path / "root" / "models") == tree(weights)
    assert config["annotations"][ORIGIN] == filled.tags()["own:v1"].digest  # type: ignore[index]
    again = export_modelcar(filled_store(tmp_path / "b", weights), OWN, tmp_path / "car2")
    assert again.index.digest == done.index.digest
    # Into the same layout: what is shared is there once. New are two manifests and an index.
    before = set(LayoutStore(tmp_path / "car").blob_digests())
    other = filled_store(tmp_path / "c", weights, ref="else:v2")
    export_modelcar(other, Reference.parse("else:v2"), tmp_path / "car")
    assert len(set(LayoutStore(tmp_path / "car").blob_digests()) - before) == 3


def test_folders_and_long_names(store: LayoutStore, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    deep = folder / "wavs" / ("long" * 20) / ("name" * 20)
    deep.mkdir(parents=True)
    (deep / "ü 1.wav").write_bytes(b"x" * 512)
    (folder / "empty.txt").touch()
    add_dataset(store, Reference.parse("corpus:v1"), folder, Catalog([]))
    export_modelcar(store, Reference.parse("corpus:v1"), tmp_path / "car")
    unpack(tmp_path / "car", "corpus:v1", tmp_path / "root")
    assert tree(tmp_path / "root" / "models") == tree(folder)


def test_damage_stays_out(filled: LayoutStore, tmp_path: Path) -> None:
    damage(blob_file(filled, "model.pth"), 1000)
    with pytest.raises(DigestMismatch, match="model.pth"):
        export_modelcar(filled, OWN, tmp_path / "car")
    assert LayoutStore.open_existing(tmp_path / "car").tags() == {}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(AlreadyExists):
        export_modelcar(filled, OWN, tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == [tmp_path / "mine" / "file"]


@needs_registry
def test_skopeo_carries_it(tmp_path: Path) -> None:
    skopeo = shutil.which("skopeo")
    if not skopeo:
        pytest.skip("needs skopeo")
    store = filled_store(tmp_path / "home" / "store", make_small_set(tmp_path / "w"))
    args = ["export", "own:v1", tmp_path / "car", "--modelcar", "--json"]
    told = json.loads(run_cli(args, tmp_path / "home").stdout)
    with Registry(tmp_path / "registry") as registry:
        there = f"docker://{registry.host}/cars/own:v1"
        copy = [
            skopeo,
            "copy",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
            "--src-tls-verify=false",
        ]
        subprocess.run([*copy, f"oci:{tmp_path / 'car'}:own:v1", there], check=True,
                       capture_output=True)  # fmt: skip
        raw = subprocess.run([skopeo, "inspect", "--tls-verify=false", "--raw", there], check=True,
                             capture_output=True).stdout  # fmt: skip
        assert Digest.of(raw) == told["digest"]
        seen = subprocess.run([skopeo, "inspect", "--tls-verify=false", there], check=True,
                              capture_output=True, text=True).stdout  # fmt: skip
    assert told["tag"] == "own:v1"
    assert LayoutStore(tmp_path / "car").tags()["own:v1"].digest == told["digest"]
    assert len(json.loads(seen)["Layers"]) == len(
        read_manifest(store, store.tags()["own:v1"]).layers
    )
