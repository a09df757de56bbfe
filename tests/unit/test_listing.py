"""The kept rows of ``ls``: they say what was read, and are read anew when anything has changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import damage

from xttsreg.content.canonical import dump_canonical
from xttsreg.errors import IntegrityError
from xttsreg.ops import listing
from xttsreg.ops.show import list_tags
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.names import LAYOUT_VERSION


def test_kept_rows_are_those_of_the_store(filled: LayoutStore) -> None:
    assert listing.current(filled.root) is None
    rows = listing.renew(filled)
    assert rows == list_tags(filled)
    assert listing.current(filled.root) == rows


def test_only_new_manifests_are_read(filled: LayoutStore) -> None:
    entry = filled.tags()["own:v1"]
    listing.renew(filled)
    filled.tag("own:v2", entry)
    assert listing.current(filled.root) is None
    damage(filled.blob_path(entry.digest))
    assert [row["ref"] for row in listing.renew(filled)] == ["own:v1", "own:v2"]
    filled.untag("own:v1")
    assert [row["ref"] for row in listing.renew(filled)] == ["own:v2"]
    (filled.root / listing.FILE).unlink()
    with pytest.raises(IntegrityError):
        listing.renew(filled)


def test_what_has_rotted_is_not_believed(filled: LayoutStore) -> None:
    rows = listing.renew(filled)
    path = filled.root / listing.FILE
    whole = path.read_bytes()
    for data in (b"", whole[:-1], whole.replace(b"own:v1", b"own:v7"), b"\xff" + whole):
        path.write_bytes(data)
        assert listing.current(filled.root) is None
    assert listing.renew(filled) == rows
    assert path.read_bytes() == whole


def test_rows_of_another_version_are_made_again(
    filled: LayoutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing.renew(filled)
    monkeypatch.setattr(listing, "__version__", "0.0.1")
    assert listing.current(filled.root) is None


def test_a_store_of_another_layout_is_not_listed_from_what_was_kept(filled: LayoutStore) -> None:
    listing.renew(filled)
    layout = filled.root / "oci-layout"
    assert layout.read_bytes() == dump_canonical({"imageLayoutVersion": LAYOUT_VERSION})
    layout.write_bytes(dump_canonical({"imageLayoutVersion": "2.0.0"}))
    assert listing.current(filled.root) is None


def test_a_layout_without_our_state_gets_none(filled: LayoutStore, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(filled.root, plain, ignore=shutil.ignore_patterns(".xttsreg"))
    assert listing.renew(LayoutStore.open_existing(plain)) == list_tags(filled)
    assert not (plain / ".xttsreg").exists()
