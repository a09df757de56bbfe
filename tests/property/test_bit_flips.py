"""One bit, anywhere in a bundle: the import fails with exit code 4, and the store is as before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import damage, filled_store, make_small_set, tree

from xttsreg.errors import IntegrityError
from xttsreg.ops.bundle import bundle
from xttsreg.ops.importing import import_bundle
from xttsreg.ops.licensing import accepted_now, record
from xttsreg.ops.verify import verify
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore


@pytest.fixture(scope="module")
def stick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of few bytes, so that the small files are hit as often as the blobs."""
    root = tmp_path_factory.mktemp("flips")
    weights = make_small_set(root / "w", model_pth=3000, dvae_pth=500, speakers_xtts_pth=300)
    store = filled_store(root / "store", weights)
    entry = store.tags()["own:v1"]
    record(store, entry, read_manifest(store, entry), accepted_now("test"))
    return bundle(store, store.tags(), root / "stick").directory


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> LayoutStore:
    """A store that has something else already."""
    root = tmp_path_factory.mktemp("target")
    return filled_store(root / "store", make_small_set(root / "w", seed=9), ref="mine:v1")


@given(data=st.data())
def test_one_bit(stick: Path, target: LayoutStore, data: st.DataObject) -> None:
    names = sorted(tree(stick))
    path = stick / data.draw(st.sampled_from(names), label="file")
    offset = data.draw(st.integers(0, path.stat().st_size - 1), label="offset")
    before, kept = tree(target.root), path.read_bytes()
    damage(path, offset, data.draw(st.integers(0, 7), label="bit"))
    try:
        with pytest.raises(IntegrityError) as caught:
            import_bundle(stick, target)
    finally:
        path.unlink()  # the import may have links to it
        path.write_bytes(kept)
    assert caught.value.exit_code == 4
    assert tree(target.root) == before
    assert list(target.tags()) == ["mine:v1"]


def test_and_without_it_the_import_works(stick: Path, tmp_path: Path) -> None:
    shutil.copytree(stick, tmp_path / "copy")
    store = LayoutStore.create(tmp_path / "store")
    import_bundle(tmp_path / "copy", store)
    assert verify(store, store.entries(), use_cache=False).problems == []
