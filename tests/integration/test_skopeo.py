"""Our stores and bundles in the hands of another OCI tool, and its layouts in ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from support import catalog_for, run_cli, say_yes, tree

from xttsreg.catalog import Catalog
from xttsreg.content.digest import Digest
from xttsreg.content.reference import Reference
from xttsreg.ops.add import add
from xttsreg.ops.verify import verify
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore

pytestmark = pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")


def skopeo(*args: object) -> bytes:
    """Run skopeo, without a policy file of the machine."""
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *map(str, args)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture
def store(tmp_path: Path, weights: Path) -> LayoutStore:
    """A store with an accepted set."""
    store = LayoutStore.create(tmp_path / "home" / "store")
    catalog = Catalog.load(catalog_for(tmp_path / "catalog", weights, required=True))
    add(store, Reference.parse("small"), weights, catalog, ask=say_yes)
    return store


def test_inspect_reads_the_store_as_it_is(store: LayoutStore) -> None:
    entry = store.tags()["small:main"]
    raw = skopeo("inspect", "--raw", f"oci:{store.root}:small:main")
    assert raw == store.blob_path(entry.digest).read_bytes()
    assert Digest.of(raw) == entry.digest
    config = skopeo("inspect", "--config", "--raw", f"oci:{store.root}:small:main")
    assert json.loads(config)["descriptor"]["name"] == "small"


def test_copies_keep_every_digest(store: LayoutStore, tmp_path: Path) -> None:
    entry = store.tags()["small:main"]
    archive, other = tmp_path / "small.tar", tmp_path / "home2" / "store"
    skopeo("copy", f"oci:{store.root}:small:main", f"oci-archive:{archive}:small:main")
    with tarfile.open(archive) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
    assert [m["digest"] for m in index["manifests"]] == [entry.digest]
    other.parent.mkdir()
    skopeo("copy", f"oci-archive:{archive}:small:main", f"oci:{other}:small:main")

    # And back: the layout that skopeo wrote is a store.
    back = LayoutStore.open_existing(other)
    assert back.tags()["small:main"].digest == entry.digest
    assert verify(back, back.entries(), use_cache=False).problems == []
    assert read_manifest(back, entry) == read_manifest(store, entry)


def test_every_verb_works_on_a_layout_that_skopeo_wrote(
    store: LayoutStore, weights: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home2"
    home.mkdir()
    skopeo("copy", f"oci:{store.root}:small:main", f"oci:{home / 'store'}:small:main")
    assert run_cli(["verify", "--no-cache"], home).code == 0
    assert [row["ref"] for row in json.loads(run_cli(["ls", "--json"], home).stdout)] == [
        "small:main"
    ]
    assert run_cli(["checkout", "small", tmp_path / "view"], home).code == 0
    assert tree(tmp_path / "view") == tree(weights)
    assert run_cli(["gc", "--yes"], home).code == 0
    assert run_cli(["verify", "--no-cache"], home).code == 0
    # The yes was not copied, so it is asked for again.
    assert run_cli(["bundle", "small", "-o", tmp_path / "stick"], home).code == 2
    args = ["bundle", "small", "-o", tmp_path / "stick", "--accept-license"]
    assert run_cli(args, home).code == 0
    assert run_cli(["import", tmp_path / "stick"], tmp_path / "home3").code == 0


def test_a_bundle_is_a_layout_too(store: LayoutStore, tmp_path: Path) -> None:
    assert run_cli(["bundle", "small", "-o", tmp_path / "stick"], tmp_path / "home").code == 0
    raw = skopeo("inspect", "--raw", f"oci:{tmp_path / 'stick'}:small:main")
    assert Digest.of(raw) == store.tags()["small:main"].digest


def test_skopeo_adds_to_our_store_and_harms_nothing(store: LayoutStore, tmp_path: Path) -> None:
    skopeo("copy", f"oci:{store.root}:small:main", f"oci:{tmp_path / 'x'}:latest")
    skopeo("copy", f"oci:{tmp_path / 'x'}:latest", f"oci:{store.root}:other:v1")
    assert set(store.tags()) == {"small:main", "other:v1"}
    assert verify(store, store.entries(), use_cache=False).problems == []
    home = tmp_path / "home"
    shown = json.loads(run_cli(["inspect", "small", "--json"], home).stdout)
    assert shown["license"]["accepted_how"] == "test"
