from __future__ import annotations

import io
from pathlib import Path

import pytest
from support import blob_file, blob_of, damage, filled_store, make_small_set, tree

from xttsreg.content.digest import Digest
from xttsreg.content.reference import Reference
from xttsreg.errors import IntegrityError, NotFoundError
from xttsreg.ops.gc import gc
from xttsreg.ops.licensing import accepted_now, record
from xttsreg.ops.verify import verify
from xttsreg.stores import durable
from xttsreg.stores.base import read_manifest, resolve
from xttsreg.stores.layout import LayoutStore


def test_nothing_to_do_in_a_fresh_store(filled: LayoutStore) -> None:
    before = tree(filled.root)
    found = gc(filled, dry_run=False)
    assert (found.blobs, found.size_bytes) == ([], 0)
    assert [path for path in found.files if path.suffix != ".lock"] == []
    assert tree(filled.root) == before


def test_a_dry_run_says_the_same_and_removes_nothing(filled: LayoutStore) -> None:
    data = b"litter" * 10
    filled.put(blob_of(data), io.BytesIO(data))
    before = tree(filled.root, state=True)
    said = gc(filled, dry_run=True)
    assert (said.blobs, said.size_bytes) == ([Digest.of(data)], len(data))
    assert tree(filled.root, state=True) == before
    done = gc(filled, dry_run=False)
    assert done.blobs == said.blobs
    assert not filled.blob_path(Digest.of(data)).exists()
    assert verify(filled, filled.entries(), use_cache=False).problems == []


def test_after_untag_the_set_goes_and_what_others_share_stays(
    filled: LayoutStore, tmp_path: Path
) -> None:
    other = make_small_set(tmp_path / "other", seed=2)
    (other / "dvae.pth").write_bytes(blob_file(filled, "dvae.pth").read_bytes())
    filled_store(filled.root, other, ref="other:v1")
    shared, alone = blob_file(filled, "dvae.pth"), blob_file(filled, "model.pth")
    filled.untag("own:v1")
    gc(filled, dry_run=False)
    assert (shared.exists(), alone.exists()) == (True, False)
    assert verify(filled, filled.entries(), use_cache=False).problems == []
    filled.untag("other:v1")
    gc(filled, dry_run=False)
    assert list(filled.blob_digests()) == []


def test_an_acceptance_goes_with_its_set_and_not_before(filled: LayoutStore) -> None:
    entry = resolve(filled, Reference.parse("own:v1"))
    record(filled, entry, read_manifest(filled, entry), accepted_now("test"))
    assert len(filled.entries()) == 2
    gc(filled, dry_run=False)
    assert len(filled.entries()) == 2
    filled.untag("own:v1")
    gc(filled, dry_run=False)
    assert filled.entries() == ()
    assert list(filled.blob_digests()) == []


def test_unfinished_downloads_and_temporary_files_go(filled: LayoutStore) -> None:
    with filled.resumable(blob_of(b"abc")) as writer:
        assert writer
        writer.write(b"ab")
    durable.make_directory(filled.state / "tmp" / "dead")
    (filled.state / "tmp" / "dead" / "x").write_bytes(b"123")
    found = gc(filled, dry_run=False)
    assert {path.name for path in found.files} >= {"x", Digest.of(b"abc").hex}
    assert found.size_bytes == 5
    assert not filled.partial_path(Digest.of(b"abc")).exists()
    assert [path for path in gc(filled, dry_run=True).files if path.suffix != ".lock"] == []


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_with_an_unreadable_manifest_nothing_is_removed(filled: LayoutStore, how: str) -> None:
    filled.put(blob_of(b"litter"), io.BytesIO(b"litter"))
    path = filled.blob_path(filled.tags()["own:v1"].digest)
    damage(path) if how == "damaged" else path.unlink()
    before = tree(filled.root)
    with pytest.raises((IntegrityError, NotFoundError)):
        gc(filled, dry_run=False)
    assert tree(filled.root) == before


def test_files_that_are_no_blobs_are_left_alone(filled: LayoutStore) -> None:
    foreign = filled.root / "blobs" / "sha256" / "README"
    foreign.write_text("not ours")
    folder = filled.root / "blobs" / "sha256" / ("0" * 64)
    folder.mkdir()
    gc(filled, dry_run=False)
    assert foreign.exists()
    assert folder.is_dir()
