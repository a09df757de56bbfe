"""The model in a store that many share and nobody may write to; the voice in one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import never_ask, read_only, tree

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import BASE
from xttsreg.content.reference import Reference
from xttsreg.errors import ReadOnlyMedia
from xttsreg.ops.add import add
from xttsreg.ops.verify import verify
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore
from xttsreg.training.finetune import finetune
from xttsreg.training.request import Request

from .conftest import quick

pytestmark = pytest.mark.train
MODEL = Reference.parse("tiny:main")


def test_train_from_a_read_only_store(tiny: Path, clips: Path, tmp_path: Path) -> None:
    shared = LayoutStore.create(tmp_path / "shared")
    entry = add(shared, MODEL, tiny, Catalog([]), ask=never_ask).manifest
    own = LayoutStore.at(tmp_path / "own")
    request = Request(
        model=MODEL, voice=Reference.parse("me:v1"), options=quick(clips),
        output=tmp_path / "run", samples=False, shared=LayoutStore.open_existing(shared.root),
    )  # fmt: skip
    before = tree(shared.root, state=True)
    with read_only(shared.root):
        with pytest.raises(ReadOnlyMedia) as refused:
            finetune(shared, Catalog([]), request, ask=never_ask)
        assert f"--from {shared.root}" in str(refused.value.hint)
        done = finetune(own, Catalog([]), request, ask=never_ask)
    assert tree(shared.root, state=True) == before
    assert list(own.tags()) == ["me:v1"]
    manifest = read_manifest(own, done.manifest)
    assert manifest.annotations[BASE] == f"tiny:main@{entry.digest}"
    assert verify(own, own.entries(), use_cache=False).problems == []
