"""Any folder that may travel comes out as it went in."""

from __future__ import annotations

import shutil
import tempfile
import unicodedata
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from support import tree

from xttsreg.catalog import Catalog
from xttsreg.content import packs
from xttsreg.content.paths import check_distinct_paths, check_relative_path
from xttsreg.content.reference import Reference
from xttsreg.errors import UnsafePath
from xttsreg.ops.bundle import bundle
from xttsreg.ops.datasets import add_dataset, describe_dataset
from xttsreg.ops.importing import import_bundle
from xttsreg.ops.views import checkout
from xttsreg.stores.layout import LayoutStore

NAME = Reference.parse("corpus:v1")


def _may_travel(path: str) -> bool:
    try:
        return bool(check_relative_path(path)) and not path.startswith(".") and "/." not in path
    except UnsafePath:
        return False


def _distinct(files: dict[str, bytes]) -> bool:
    try:
        check_distinct_paths(files)
    except UnsafePath:
        return False
    return True


LETTERS = st.characters(
    codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters='/<>:"\\|?*'
)
PARTS = st.text(LETTERS, min_size=1, max_size=12) | st.sampled_from(
    ["a b", "ü", unicodedata.normalize("NFD", "é"), "LICENSE", "语音", "x" * 60, "-rf", "a.tar"]
)
PATHS = st.lists(PARTS, min_size=1, max_size=5).map("/".join).filter(_may_travel)
BYTES = st.binary(max_size=50) | st.sampled_from([b"", bytes(512), bytes(1024), b"x" * 1537])
FOLDERS = st.dictionaries(PATHS, BYTES, min_size=1, max_size=8).filter(_distinct)


@given(FOLDERS, st.booleans())
@settings(max_examples=10)
def test_in_through_a_bundle_and_out(files: dict[str, bytes], is_packed: bool) -> None:
    root = Path(tempfile.mkdtemp())
    before = packs.LISTED_BYTES
    packs.LISTED_BYTES = 0 if is_packed else before
    try:
        for path, data in files.items():
            (root / "in" / path).parent.mkdir(parents=True, exist_ok=True)
            (root / "in" / path).write_bytes(data)
        here, there = LayoutStore.create(root / "here"), LayoutStore.create(root / "there")
        done = add_dataset(here, NAME, root / "in", Catalog([]))
        assert done.manifest.digest == describe_dataset(root / "in").describe().digest
        assert (done.files, done.size_bytes) == (len(files), sum(map(len, files.values())))
        bundle(here, here.tags(), root / "stick")
        import_bundle(root / "stick", there)
        assert there.tags() == here.tags()
        checkout(there, there.tags()["corpus:v1"], root / "out")
        assert tree(root / "out") == tree(root / "in")
        assert len(tree(root / "out")) == len(files)
    finally:
        packs.LISTED_BYTES = before
        shutil.rmtree(root)
