"""Datasets in a store: the digest, what is left out, and the way back out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import damage, leftovers, tree

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import kind_of
from xttsreg.content.reference import Reference
from xttsreg.errors import AlreadyExists, InvalidDataset, InvalidInputError, UnsafePath
from xttsreg.ops.add import add
from xttsreg.ops.datasets import add_dataset, describe_dataset, list_folder
from xttsreg.ops.gc import gc
from xttsreg.ops.show import list_tags
from xttsreg.ops.verify import verify
from xttsreg.ops.views import check_after, checkout
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore

CORPUS = Reference.parse("corpus:v1")
NONE = Catalog([])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    directory = tmp_path / "corpus"
    (directory / "wavs").mkdir(parents=True)
    for number in range(3):
        (directory / "wavs" / f"{number}.wav").write_bytes(bytes([number]) * 1000)
    (directory / "wavs" / "again.wav").write_bytes(bytes(1000))
    (directory / "metadata.csv").write_text("0|ä|ä\n", "utf-8")
    (directory / "empty").touch()
    (directory / "LICENSE").write_text("free")
    return directory


@pytest.fixture
def many(corpus: Path) -> Path:
    """So many that they are packed."""
    for number in range(1200):
        (corpus / "wavs" / f"clip_{number:05}.wav").write_bytes(b"%d" % number)
    return corpus


@pytest.mark.parametrize("name", ["corpus", "many"])
def test_in_and_out(
    store: LayoutStore, tmp_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    directory = request.getfixturevalue(name)
    done = add_dataset(store, CORPUS, directory, NONE)
    expected = tree(directory)
    assert done.manifest.digest == describe_dataset(directory).describe().digest
    assert (done.files, done.size_bytes) == (
        len(expected),
        sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()),
    )
    mode = checkout(store, done.manifest, tmp_path / "out", hardlink=True)
    assert tree(tmp_path / "out") == expected
    # of many files, the terms are a layer of their own and linked, where clones are not possible
    assert mode in ("hardlink", "copy" if name == "many" else "reflink")
    check_after(store, done.manifest)
    [row] = list_tags(store)
    assert (row["kind"], row["files"], row["ref"]) == ("dataset", len(expected), "corpus:v1")
    assert gc(store, dry_run=False).blobs == []
    assert verify(store, store.entries(), use_cache=False).problems == []
    assert leftovers(store) == []


def test_the_digest_is_over_names_and_bytes_alone(corpus: Path, tmp_path: Path) -> None:
    # Golden: this digest stands in the lineage of voices.
    digest = describe_dataset(corpus).describe().digest
    assert digest == "sha256:b06f43421b43990910eea0d49dfb2d62dee2f6473026c9ba86726c9dd375d336"
    os.utime(corpus / "empty", (1, 1))
    (corpus / "empty").chmod(0o755)
    (corpus / ".hidden").touch()
    assert describe_dataset(corpus.rename(tmp_path / "elsewhere")).describe().digest == digest
    (tmp_path / "elsewhere" / "empty").rename(tmp_path / "elsewhere" / "Empty")
    assert describe_dataset(tmp_path / "elsewhere").describe().digest != digest


def test_hidden_files_are_left_out_and_named(store: LayoutStore, corpus: Path) -> None:
    (corpus / ".git").mkdir()
    (corpus / ".git" / "x").touch()
    (corpus / "wavs" / ".DS_Store").touch()
    done = add_dataset(store, CORPUS, corpus, NONE)
    assert (done.files, done.hidden) == (7, [".git", "wavs/.DS_Store"])


def test_links_are_followed(corpus: Path, tmp_path: Path) -> None:
    digest = describe_dataset(corpus).describe().digest
    (corpus / "wavs").rename(tmp_path / "audio")
    (corpus / "wavs").symlink_to(tmp_path / "audio")
    (corpus / "empty").unlink()
    (corpus / "empty").symlink_to(os.devnull)
    with pytest.raises(InvalidDataset, match="empty: neither a file nor a folder"):
        describe_dataset(corpus)
    (corpus / "empty").unlink()
    (corpus / "empty").touch()
    assert describe_dataset(corpus).describe().digest == digest


def test_what_cannot_travel(corpus: Path) -> None:
    link = corpus / "wavs" / "loop"
    link.symlink_to(corpus)
    with pytest.raises(InvalidDataset, match="leads back"):
        list_folder(corpus)
    link.unlink()
    link.symlink_to("nowhere")
    with pytest.raises(InvalidDataset, match="leads nowhere"):
        list_folder(corpus)
    link.unlink()
    os.mkfifo(corpus / "pipe")
    with pytest.raises(InvalidDataset, match="pipe: neither"):
        list_folder(corpus)
    (corpus / "pipe").unlink()
    (corpus / "EMPTY").touch()
    with pytest.raises(UnsafePath, match="one file on FAT32"):
        list_folder(corpus)
    (corpus / "EMPTY").unlink()
    (corpus / "what?.wav").touch()
    with pytest.raises(UnsafePath, match="forbid"):
        list_folder(corpus)


@pytest.mark.parametrize("name", ["corpus", "many"])
def test_a_folder_that_changes_meanwhile(
    store: LayoutStore,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    directory = request.getfixturevalue(name)
    stage = LayoutStore.stage

    def change(self, blob, source, *rest):  # type: ignore[no-untyped-def]
        (directory / "wavs" / "1.wav").write_bytes(b"x" * 1000)
        return stage(self, blob, source, *rest)

    monkeypatch.setattr(LayoutStore, "stage", change)
    with pytest.raises(InvalidDataset, match="has changed"):
        add_dataset(store, CORPUS, directory, NONE)
    assert store.tags() == {}


def test_names_do_not_move_in_silence(filled: LayoutStore, corpus: Path, weights: Path) -> None:
    own = Reference.parse("own:v1")
    before = filled.tags()
    with pytest.raises(AlreadyExists, match="as a weight set"):
        add_dataset(filled, own, corpus, NONE)
    assert filled.tags() == before
    add_dataset(filled, CORPUS, corpus, NONE)
    with pytest.raises(AlreadyExists, match="as a dataset"):
        add(filled, CORPUS, weights, NONE, ask=lambda _: None)
    add_dataset(filled, CORPUS, corpus, NONE)  # the same again is fine
    (corpus / "empty").write_text("no more")
    with pytest.raises(AlreadyExists):
        add_dataset(filled, CORPUS, corpus, NONE)
    add_dataset(filled, CORPUS, corpus, NONE, force=True)
    assert kind_of(read_manifest(filled, filled.tags()["corpus:v1"])) == "dataset"


def test_a_name_with_a_digest_is_refused(store: LayoutStore, corpus: Path) -> None:
    pinned = Reference.parse(f"corpus@{describe_dataset(corpus).describe().digest}")
    with pytest.raises(InvalidInputError, match="takes none"):
        add_dataset(store, pinned, corpus, NONE)


def test_a_damaged_blob_is_mended_by_the_next_add(store: LayoutStore, many: Path) -> None:
    done = add_dataset(store, CORPUS, many, NONE)
    pack = next(layer for layer in read_manifest(store, done.manifest).layers)
    damage(store.blob_path(pack.digest), 600)
    assert len(verify(store, store.entries()).problems) == 1
    add_dataset(store, CORPUS, many, NONE)
    assert verify(store, store.entries(), use_cache=False).problems == []
