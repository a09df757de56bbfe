"""Bundles that carry only what the other side lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import blob_file, damage, filled_store, leftovers, make_small_set, tree

from xttsreg.content.artifacts import BASE, RUN_TYPE
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import EMPTY_BYTES, EMPTY_TYPE, MANIFEST_TYPE, Manifest
from xttsreg.content.reference import Reference
from xttsreg.errors import BaseMissing, InvalidInputError, NotFoundError
from xttsreg.ops.bundle import Bundled, bundle
from xttsreg.ops.importing import import_bundle
from xttsreg.ops.inventory import take_inventory
from xttsreg.ops.lineage import Lineage, load_base, register_voice
from xttsreg.ops.verify import verify
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore

SHARED = ("config.json", "vocab.json", "speakers_xtts.pth", "LICENSE.txt")


def voice(
    store: LayoutStore, directory: Path, name: str = "voice:v1", base: str = "own:v1"
) -> None:
    """Register a voice that has some files of its base, as those that were trained do."""
    make_small_set(directory, seed=len(name))
    manifest = read_manifest(store, store.tags()[base])
    for path in SHARED:
        (directory / path).write_bytes(store.blob_path(manifest.files()[path].digest).read_bytes())
    story = Lineage(dataset_digest=Digest.of(b"d"), config_path="config.json",
                    created="2026-01-01T00:00:00Z", author="ada")  # fmt: skip
    _, loaded = load_base(store, Reference.parse(base))
    register_voice(store, Reference.parse(name), directory, story, loaded)


@pytest.fixture
def site(filled: LayoutStore, tmp_path: Path) -> LayoutStore:
    """A store with ``own:v1`` and a voice on it."""
    voice(filled, tmp_path / "run")
    return filled


@pytest.fixture
def center(weights: Path, tmp_path: Path) -> LayoutStore:
    """Another store that has ``own:v1``."""
    return filled_store(tmp_path / "center", weights)


def thin(store: LayoutStore, directory: Path, *refs: str, **options: object) -> Bundled:
    tags = {ref: store.tags()[ref] for ref in refs}
    return bundle(store, tags, directory, **options)  # type: ignore[arg-type]


def on(stick: Path) -> set[str]:
    return {path.name for path in stick.glob("blobs/sha256/*")}


def is_whole(store: LayoutStore) -> bool:
    return verify(store, store.entries(), use_cache=False).problems == []


# --- thin ---------------------------------------------------------------------------------------


def test_a_voice_goes_back_without_its_base(
    site: LayoutStore, center: LayoutStore, tmp_path: Path
) -> None:
    done = thin(site, tmp_path / "stick", "voice:v1", thin=True)
    shared = {blob_file(site, path).name for path in SHARED}
    assert {blob.digest.hex for blob in done.bundle.requires} == shared
    assert not shared & on(tmp_path / "stick")
    assert blob_file(site, "model.pth", "voice:v1").name in on(tmp_path / "stick")
    (base,) = done.bundle.based_on
    assert (base.ref, base.digest) == ("own:v1", site.tags()["own:v1"].digest)
    import_bundle(tmp_path / "stick", center)
    assert list(center.tags()) == ["own:v1", "voice:v1"]
    assert center.tags()["voice:v1"].digest == site.tags()["voice:v1"].digest
    assert is_whole(center)


def test_without_the_base_nothing_comes_in(
    site: LayoutStore, tmp_path: Path, weights: Path
) -> None:
    thin(site, tmp_path / "stick", "voice:v1", thin=True)
    empty = LayoutStore.at(tmp_path / "empty")
    with pytest.raises(BaseMissing) as caught:
        import_bundle(tmp_path / "stick", empty)
    assert caught.value.exit_code == 3
    assert len(caught.value.missing) == len(SHARED)
    assert f"own:v1@{site.tags()['own:v1'].digest}" in caught.value.message
    assert "own:v1" in str(caught.value.hint)
    assert not empty.root.exists()
    again = filled_store(tmp_path / "empty", weights)  # the base comes, and then it goes
    import_bundle(tmp_path / "stick", again)
    assert is_whole(again)


def test_a_damaged_base_is_no_base(site: LayoutStore, center: LayoutStore, tmp_path: Path) -> None:
    thin(site, tmp_path / "stick", "voice:v1", thin=True)
    path = blob_file(center, "vocab.json")
    damage(path)
    before = tree(center.root)
    with pytest.raises(BaseMissing, match="damaged") as caught:
        import_bundle(tmp_path / "stick", center)
    assert caught.value.missing == [f"sha256:{path.name}"]
    assert "verify own:v1" in str(caught.value.hint)
    assert (tree(center.root), leftovers(center)) == (before, [])


def test_a_voice_on_a_voice(site: LayoutStore, center: LayoutStore, tmp_path: Path) -> None:
    """What belongs to the base of the base is left out, too."""
    voice(site, tmp_path / "second", "second:v1", "voice:v1")
    done = thin(site, tmp_path / "stick", "second:v1", thin=True)
    assert [ref.ref for ref in done.bundle.based_on] == ["own:v1", "voice:v1"]
    import_bundle(tmp_path / "stick", center)
    assert is_whole(center)


def test_what_has_no_base(site: LayoutStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="--thin"):
        thin(site, tmp_path / "stick", "own:v1", thin=True)
    site.untag("own:v1")
    with pytest.raises(NotFoundError, match="own:v1") as caught:
        thin(site, tmp_path / "stick", "voice:v1", thin=True)
    assert "without --thin" in str(caught.value.hint)
    assert not (tmp_path / "stick").exists()


# --- since --------------------------------------------------------------------------------------


def test_only_what_is_new(site: LayoutStore, center: LayoutStore, tmp_path: Path) -> None:
    filled_store(site.root, make_small_set(tmp_path / "w2", seed=2), ref="two:v1")
    inventory = take_inventory(center).inventory
    done = thin(site, tmp_path / "stick", *site.tags(), since=inventory)
    old = {digest.hex for digest in inventory.blobs}
    manifest = read_manifest(site, site.tags()["own:v1"])
    explains = {manifest.config.digest.hex, site.tags()["own:v1"].digest.hex}
    assert old & on(tmp_path / "stick") == explains
    assert [ref.ref for ref in done.bundle.based_on] == ["own:v1"]
    import_bundle(tmp_path / "stick", center)
    assert list(center.tags()) == ["own:v1", "two:v1", "voice:v1"]
    assert is_whole(center)
    again = thin(site, tmp_path / "more", *site.tags(), since=take_inventory(center).inventory)
    assert {blob.digest for blob in again.bundle.requires} | {
        Digest.from_hex(name) for name in on(tmp_path / "more")
    } >= {blob.digest for blob in done.bundle.requires}
    heavy = [path for path in (tmp_path / "more").glob("blobs/sha256/*")
             if path.stat().st_size > 5_000]  # fmt: skip
    assert heavy == []


def test_an_inventory_that_promises_too_much(
    site: LayoutStore, tmp_path: Path, weights: Path
) -> None:
    """Old, forged, or somebody ran gc since: the import notices."""
    stale = take_inventory(site).inventory
    thin(site, tmp_path / "stick", "voice:v1", since=stale)
    center = filled_store(tmp_path / "center", weights)
    with pytest.raises(BaseMissing) as caught:
        import_bundle(tmp_path / "stick", center)
    assert blob_file(site, "model.pth", "voice:v1").name in str(caught.value.missing)
    assert "voice:v1" not in center.tags()


def test_another_size_is_another_blob(site: LayoutStore, tmp_path: Path) -> None:
    inventory = take_inventory(site).inventory
    wrong = inventory.model_copy(update={"blobs": {d: s + 1 for d, s in inventory.blobs.items()}})
    assert thin(site, tmp_path / "stick", "own:v1", since=wrong).bundle.requires == ()


def test_thin_and_since_together(site: LayoutStore, tmp_path: Path) -> None:
    model = Digest.from_hex(blob_file(site, "model.pth", "voice:v1").name)
    inventory = take_inventory(site).inventory
    only = inventory.model_copy(update={"refs": (), "blobs": {model: inventory.blobs[model]}})
    done = thin(site, tmp_path / "stick", "voice:v1", since=only, thin=True)
    required = {blob.digest.hex for blob in done.bundle.requires}
    assert required == {blob_file(site, path).name for path in SHARED} | {model.hex}


def test_anything_that_names_a_base(site: LayoutStore, center: LayoutStore, tmp_path: Path) -> None:
    """A run, for one: its checkpoints travel, what it has of its base does not."""
    base = site.tags()["own:v1"]
    shared = read_manifest(site, base).files()["dvae.pth"]
    checkpoint = site.put_bytes("application/octet-stream", b"checkpoint" * 1000)
    run = Manifest(
        artifact_type=RUN_TYPE,
        config=site.put_bytes(EMPTY_TYPE, EMPTY_BYTES),
        layers=(shared, checkpoint),
        annotations={BASE: f"own:v1@{base.digest}"},
    )
    site.put_bytes(MANIFEST_TYPE, run.to_bytes())
    site.tag("run:v1", run.describe())
    done = thin(site, tmp_path / "stick", "run:v1", thin=True)
    assert [blob.digest for blob in done.bundle.requires] == [shared.digest]
    assert checkpoint.digest.hex in on(tmp_path / "stick")
    import_bundle(tmp_path / "stick", center)
    assert center.tags()["run:v1"].digest == run.describe().digest
    assert is_whole(center)
