from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import blob_file, damage, mounted, read_only, tree

from xttsreg.content.reference import Reference
from xttsreg.errors import AlreadyExists, BlobNotFound, IntegrityError, InvalidModel, XttsregError
from xttsreg.ops.licensing import accepted_now, record
from xttsreg.ops.views import check_after, checkout
from xttsreg.stores import links
from xttsreg.stores.base import read_manifest, resolve
from xttsreg.stores.layout import LayoutStore

OWN = Reference.parse("own:v1")


def own(store: LayoutStore):  # type: ignore[no-untyped-def]
    return resolve(store, OWN)


@pytest.mark.parametrize("hardlink", [False, True])
def test_a_view_has_the_files_under_their_names_and_nothing_else(
    filled: LayoutStore, weights: Path, tmp_path: Path, hardlink: bool
) -> None:
    mode = checkout(filled, own(filled), tmp_path / "view", hardlink=hardlink)
    assert tree(tmp_path / "view", state=True) == tree(weights)
    assert mode in (["reflink", "hardlink"] if hardlink else ["reflink", "copy"])


def test_without_links_the_files_are_ones_own(filled: LayoutStore, tmp_path: Path) -> None:
    before = tree(filled.root)
    checkout(filled, own(filled), tmp_path / "view")
    for path in (tmp_path / "view").iterdir():
        assert os.access(path, os.W_OK)
        path.write_bytes(b"scribble")  # O_TRUNC, as the fork of the trainer does it
    assert tree(filled.root) == before


def test_a_write_through_a_link_is_found_afterwards(filled: LayoutStore, tmp_path: Path) -> None:
    mode = checkout(filled, own(filled), tmp_path / "view", hardlink=True)
    if mode != "hardlink":
        pytest.skip(f"this filesystem gives {mode}s")
    check_after(filled, own(filled))
    with (tmp_path / "view" / "vocab.json").open("r+b") as file:
        file.write(b"scribble")
    with pytest.raises(IntegrityError, match=r"vocab\.json"):
        check_after(filled, own(filled))


def test_on_another_filesystem_links_become_copies(
    filled: LayoutStore, weights: Path, tmp_path: Path
) -> None:
    with mounted(tmp_path / "other", "-t", "tmpfs", "tmpfs") as other:
        assert checkout(filled, own(filled), other / "view", hardlink=True) == "copy"
        assert tree(other / "view") == tree(weights)


@pytest.mark.skipif(os.name != "posix", reason="posix only")
def test_a_clone_shares_nothing_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 5000)
    cloned = links.reflink(tmp_path / "a", tmp_path / "b")
    assert cloned == (tmp_path / "b").exists()
    if not cloned:
        pytest.skip("this filesystem cannot clone")
    (tmp_path / "b").write_bytes(b"y")
    assert (tmp_path / "a").read_bytes() == b"x" * 5000


@pytest.mark.parametrize("hardlink", [False, True])
@pytest.mark.parametrize("name", ["model.pth", "LICENSE.txt"])
def test_a_damaged_blob_stops_it_and_leaves_no_directory(
    filled: LayoutStore, tmp_path: Path, hardlink: bool, name: str
) -> None:
    damage(blob_file(filled, name), 7)
    with pytest.raises(IntegrityError, match=name.replace(".", r"\.")) as caught:
        checkout(filled, own(filled), tmp_path / "view", hardlink=hardlink)
    assert caught.value.hint
    assert not (tmp_path / "view").exists()


def test_a_missing_blob_stops_it_and_leaves_no_directory(
    filled: LayoutStore, tmp_path: Path
) -> None:
    blob_file(filled, "dvae.pth").unlink()
    with pytest.raises(BlobNotFound):
        checkout(filled, own(filled), tmp_path / "view")
    assert not (tmp_path / "view").exists()


def test_damage_that_the_records_cannot_see_is_found_while_copying(
    filled: LayoutStore, tmp_path: Path
) -> None:
    path = blob_file(filled, "model.pth")
    status = path.stat()
    damage(path, 9)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    if links.reflink(path, tmp_path / "clone"):
        pytest.skip("this filesystem clones, so nothing is read")
    with pytest.raises(IntegrityError):
        checkout(filled, own(filled), tmp_path / "view")
    assert not (tmp_path / "view").exists()


def test_an_empty_directory_will_do_and_a_full_one_or_a_file_will_not(
    filled: LayoutStore, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    checkout(filled, own(filled), tmp_path / "empty")
    before = tree(tmp_path / "empty")
    (tmp_path / "file").write_text("mine")
    for taken in ("empty", "file"):
        with pytest.raises(AlreadyExists):
            checkout(filled, own(filled), tmp_path / taken)
    assert tree(tmp_path / "empty") == before
    assert (tmp_path / "file").read_text() == "mine"


def test_what_has_no_files_cannot_be_checked_out(filled: LayoutStore, tmp_path: Path) -> None:
    entry = own(filled)
    record(filled, entry, read_manifest(filled, entry), accepted_now("test"))
    note, _ = filled.referrers(entry.digest)[0]
    with pytest.raises(InvalidModel):
        checkout(filled, note, tmp_path / "view")


def test_from_a_read_only_store(filled: LayoutStore, weights: Path, tmp_path: Path) -> None:
    with read_only(filled.root):
        reader = LayoutStore.open_existing(filled.root)
        checkout(reader, own(reader), tmp_path / "view")
    assert tree(tmp_path / "view") == tree(weights)


def test_no_space_is_said_and_nothing_is_left(filled: LayoutStore, tmp_path: Path) -> None:
    with mounted(tmp_path / "tiny", "-t", "tmpfs", "-o", "size=100k", "tmpfs") as tiny:
        with pytest.raises(XttsregError) as caught:
            checkout(filled, own(filled), tiny / "view")
        assert caught.value.exit_code == 5
        assert list(tiny.iterdir()) == []
