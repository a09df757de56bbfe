from __future__ import annotations

from pathlib import Path

import pytest
from support import catalog_for, make_small_set, say_yes

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import BASE, DATASET
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import MANIFEST_TYPE
from xttsreg.content.modelpack import LICENSES
from xttsreg.content.reference import Reference
from xttsreg.errors import AlreadyExists, TagNotFound
from xttsreg.ops import licensing, lineage
from xttsreg.ops.add import add
from xttsreg.ops.gc import gc
from xttsreg.ops.show import describe, list_tags
from xttsreg.ops.verify import verify
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore

VOICE = Reference.parse("my-voice:v1")
STORY = lineage.Lineage(
    dataset_digest=Digest.of(b"dataset"),
    config_path="config.json",
    created="2026-01-02T03:04:05Z",
    author="ada",
    facts={"torch": "2.5.1", "steps": "12"},
)


@pytest.fixture
def based(store: LayoutStore, weights: Path, tmp_path: Path) -> LayoutStore:
    """A store with a base whose terms were accepted."""
    catalog = Catalog.load(catalog_for(tmp_path / "catalog", weights, required=True))
    add(store, Reference.parse("small"), weights, catalog, ask=say_yes)
    return store


def registered(store: LayoutStore, directory: Path, voice: Reference = VOICE) -> lineage.Base:
    _, base = lineage.load_base(store, Reference.parse("small"))
    lineage.register_voice(store, voice, directory, STORY, base)
    return base


def test_a_voice_says_where_it_comes_from(based: LayoutStore, tmp_path: Path) -> None:
    run = make_small_set(tmp_path / "run", seed=5)
    base = registered(based, run)
    entry = based.tags()["my-voice:v1"]
    notes = read_manifest(based, entry).annotations
    base_digest = based.tags()["small:main"].digest
    assert notes[BASE] == f"small:main@{base_digest}" == str(base.reference)
    assert notes[DATASET] == STORY.dataset_digest
    assert notes[lineage.CONFIG] == Digest.of((run / "config.json").read_bytes())
    assert notes["io.xttsreg.lineage.torch"] == "2.5.1"
    assert notes[lineage.AUTHOR] == "ada"
    assert verify(based, based.entries(), use_cache=False).problems == []


def test_terms_and_their_acceptance_go_along(based: LayoutStore, tmp_path: Path) -> None:
    base = registered(based, make_small_set(tmp_path / "run", seed=5))
    entry = based.tags()["my-voice:v1"]
    manifest = read_manifest(based, entry)
    assert licensing.is_required(manifest)
    assert manifest.annotations[LICENSES] == "LicenseRef-Small-1.0"
    assert licensing.find_acceptance(based, entry, manifest) == base.acceptance
    assert base.acceptance


def test_the_voice_outlives_its_base(based: LayoutStore, tmp_path: Path) -> None:
    registered(based, make_small_set(tmp_path / "run", seed=5))
    based.untag("small:main")
    gc(based, dry_run=False)
    assert verify(based, based.entries(), use_cache=False).problems == []
    assert list(based.tags()) == ["my-voice:v1"]


def test_ls_and_inspect_tell_voices_from_weights(based: LayoutStore, tmp_path: Path) -> None:
    registered(based, make_small_set(tmp_path / "run", seed=5))
    rows = {row["ref"]: row for row in list_tags(based)}
    assert {ref: row["kind"] for ref, row in rows.items()} == {
        "my-voice:v1": "voice",
        "small:main": "weights",
    }
    shown = describe(based, "my-voice:v1", based.tags()["my-voice:v1"])
    assert shown["base"].startswith("small:main@sha256:")
    assert shown["license"]["accepted_how"] == "test"
    assert {file["path"] for file in shown["files"]} >= {"model.pth", "LICENSE.txt"}


def test_a_name_that_is_taken_is_not_overwritten(based: LayoutStore, tmp_path: Path) -> None:
    registered(based, make_small_set(tmp_path / "run", seed=5))
    before = based.tags()["my-voice:v1"]
    with pytest.raises(AlreadyExists):
        registered(based, make_small_set(tmp_path / "second", seed=6))
    assert based.tags()["my-voice:v1"] == before


def test_the_next_free_name(store: LayoutStore) -> None:
    assert lineage.free_reference(store, VOICE) == VOICE
    manifest = store.put_bytes(MANIFEST_TYPE, b"{}")
    for tag in ("my-voice:v1", "my-voice:v7", "my-voice:vx", "my-voice:best", "other:v90"):
        store.tag(tag, manifest)
    assert lineage.free_reference(store, VOICE) == Reference("my-voice", "v8")
    assert lineage.free_reference(store, Reference("my-voice", "v3")) == Reference("my-voice", "v3")


def test_names_that_other_tools_gave_do_not_matter(store: LayoutStore) -> None:
    manifest = store.put_bytes(MANIFEST_TYPE, b"{}")
    for tag in ("latest", "Some Name:1", "docker.io/library/x:my-voice:v1"):
        store.tag(tag, manifest)
    assert lineage.free_reference(store, VOICE) == VOICE


def test_a_base_that_is_not_there(store: LayoutStore) -> None:
    with pytest.raises(TagNotFound):
        lineage.load_base(store, Reference.parse("nope"))
