from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from support import catalog_for, make_small_set, never_ask, pinned, say_no, say_yes, tree

from xttsreg.catalog import Catalog
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import MANIFEST_TYPE
from xttsreg.content.reference import Reference
from xttsreg.errors import LicenseNotAccepted
from xttsreg.ops import licensing
from xttsreg.ops.add import add
from xttsreg.ops.copy import copy, select
from xttsreg.stores.base import read_manifest, resolve
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.memory import MemoryStore


@pytest.fixture
def catalog(tmp_path: Path, weights: Path) -> Catalog:
    return Catalog.load(catalog_for(tmp_path / "catalog", weights, required=True))


def taken(store: LayoutStore, weights: Path, catalog: Catalog, ref: str = "small") -> Descriptor:
    """Add with a yes; the entry."""
    return add(store, Reference.parse(ref), weights, catalog, ask=say_yes).manifest


def accepted(store: LayoutStore, ref: str) -> licensing.Acceptance | None:
    entry = resolve(store, Reference.parse(ref))
    return licensing.find_acceptance(store, entry, read_manifest(store, entry))


def test_no_is_no_and_nothing_is_written(
    store: LayoutStore, weights: Path, catalog: Catalog
) -> None:
    before = tree(store.root)
    with pytest.raises(LicenseNotAccepted, match="Small Licence") as caught:
        add(store, Reference.parse("small"), weights, catalog, ask=say_no)
    assert caught.value.exit_code == 2
    assert "--accept-license" in str(caught.value.hint)
    assert tree(store.root) == before


def test_the_terms_are_shown_before_the_question(
    store: LayoutStore, weights: Path, catalog: Catalog
) -> None:
    seen: list[licensing.Terms] = []
    add(store, Reference.parse("small"), weights, catalog, ask=lambda t: seen.append(t) or "yes")
    assert [(t.what, t.license_name, t.summary) for t in seen] == [
        ("small:main", "Small Licence", ("Be kind.", "Be brief."))
    ]


def test_who_and_when_and_how_are_recorded(
    store: LayoutStore, weights: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XTTSREG_USER", "ada")
    earliest = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    taken(store, weights, catalog)
    found = accepted(store, "small")
    assert found
    assert (found.by, found.how, found.at[-1]) == ("ada", "test", "Z")
    at = datetime.datetime.fromisoformat(found.at.replace("Z", "+00:00"))
    assert earliest <= at <= datetime.datetime.now(datetime.timezone.utc)


def test_a_yes_does_not_change_the_set(store: LayoutStore, weights: Path, catalog: Catalog) -> None:
    pin = catalog.get(Reference.parse("small")).model()[1].describe()
    entry = taken(store, weights, catalog)
    assert entry.digest == pin.digest
    assert store.tags()["small:main"].digest == pin.digest


def test_nobody_is_asked_twice(store: LayoutStore, weights: Path, catalog: Catalog) -> None:
    taken(store, weights, catalog)
    first = accepted(store, "small")
    before = tree(store.root)
    add(store, Reference.parse("small"), weights, catalog, ask=never_ask)
    assert accepted(store, "small") == first
    assert tree(store.root) == before


def test_a_yes_holds_for_this_set_only(
    store: LayoutStore, weights: Path, catalog: Catalog, tmp_path: Path
) -> None:
    taken(store, weights, catalog)
    other = make_small_set(tmp_path / "other", seed=2)
    (other / "LICENSE.txt").write_bytes((weights / "LICENSE.txt").read_bytes())
    with pytest.raises(LicenseNotAccepted):
        add(store, Reference.parse("mine"), other, catalog, ask=say_no)
    taken(store, other, catalog, "mine")
    assert accepted(store, "mine")


def test_the_same_files_under_another_licence_text_are_asked_for_again(
    store: LayoutStore, weights: Path, catalog: Catalog, tmp_path: Path
) -> None:
    taken(store, weights, catalog)
    changed = make_small_set(tmp_path / "changed")
    (changed / "LICENSE.txt").write_text("other terms")
    newer = Catalog.load(catalog_for(tmp_path / "newer", changed, required=True))
    with pytest.raises(LicenseNotAccepted):
        add(store, Reference.parse("small"), changed, newer, ask=say_no)


def test_the_same_text_in_a_set_of_ones_own_wants_a_yes_too(
    store: LayoutStore, weights: Path, catalog: Catalog
) -> None:
    with pytest.raises(LicenseNotAccepted, match="mine:v1"):
        add(store, Reference.parse("mine:v1"), weights, catalog, ask=say_no)
    entry = taken(store, weights, catalog, "mine:v1")
    assert licensing.is_required(read_manifest(store, entry))


def test_without_terms_nobody_is_asked(store: LayoutStore, weights: Path, tmp_path: Path) -> None:
    catalog = Catalog.load(catalog_for(tmp_path / "free", weights))
    add(store, Reference.parse("small"), weights, catalog, ask=never_ask)
    assert accepted(store, "small") is None
    assert len(store.entries()) == 1


def test_a_yes_goes_along_with_a_copy(store: LayoutStore, weights: Path, catalog: Catalog) -> None:
    entry = taken(store, weights, catalog)
    target = MemoryStore()
    copy(store, target, select(store, {"small:main": entry}))
    manifest = read_manifest(target, entry)
    assert licensing.find_acceptance(target, entry, manifest) == accepted(store, "small")


@pytest.mark.parametrize("other", ["kind", "licence"])
def test_a_note_on_something_else_is_no_yes(
    store: LayoutStore, weights: Path, catalog: Catalog, other: str
) -> None:
    entry = taken(store, weights, catalog)
    _, yes = store.referrers(entry.digest)[0]
    store.release(yes.describe().digest)
    assert accepted(store, "small") is None
    if other == "kind":
        fake = yes.model_copy(update={"artifact_type": "application/other"})
    else:
        digest = {"io.xttsreg.license.digest": Digest.of(b"other terms")}
        fake = yes.model_copy(update={"annotations": {**yes.annotations, **digest}})
    for note, expected in ((fake, False), (yes, True)):
        store.put_bytes(MANIFEST_TYPE, note.to_bytes())
        store.hold(note.describe())
        assert (accepted(store, "small") is not None) == expected


def test_the_user_has_a_name_even_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XTTSREG_USER", raising=False)

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert licensing.current_user().startswith("uid ")


def test_pinned_terms(tmp_path: Path, weights: Path) -> None:
    item = pinned(catalog_for(tmp_path / "c", weights, required=True))
    assert licensing.is_required(item.model()[1])
