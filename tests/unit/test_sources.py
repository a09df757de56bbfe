"""What ``--dataset`` means."""

from __future__ import annotations

from pathlib import Path

import pytest

from xttsreg.catalog import Catalog
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidDataset, InvalidInputError, InvalidModel, TagNotFound
from xttsreg.ops.datasets import add_dataset, describe_dataset
from xttsreg.ops.sources import find_by_digest, find_dataset, load_dataset
from xttsreg.stores.layout import LayoutStore

NAME = Reference.parse("corpus:main")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with ``corpus`` and ``own`` in it, and that is where we are."""
    for name in ("corpus", "own", "other"):
        (tmp_path / "here" / name).mkdir(parents=True)
        (tmp_path / "here" / name / "a").write_text(name)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_what_looks_like_a_path_is_one(filled: LayoutStore, here: Path) -> None:
    add_dataset(filled, NAME, here / "corpus", Catalog([]))
    for text in ("./corpus", "corpus/", "../here/corpus", ".", str(here / "corpus"), "./nothing"):
        assert find_dataset(filled, text) == Path(text)


def test_a_name_is_a_directory_or_a_dataset_and_never_both(filled: LayoutStore, here: Path) -> None:
    add_dataset(filled, NAME, here / "corpus", Catalog([]))
    with pytest.raises(InvalidInputError, match="is a directory here, and a dataset") as caught:
        find_dataset(filled, "corpus")
    assert caught.value.hint == "./corpus means the directory, corpus:main the dataset"
    assert find_dataset(filled, "corpus:main") == NAME
    assert find_dataset(filled, "own") == Path("own")  # own:v1 is no dataset, own:main is nothing
    assert find_dataset(filled, "own:v1") == Reference.parse("own:v1")  # refused by its kind
    assert find_dataset(None, "corpus") == Path("corpus")
    (here / "corpus").rename(here / "elsewhere")
    assert find_dataset(filled, "corpus") == NAME
    digest = filled.tags()["corpus:main"].digest
    assert find_dataset(filled, f"corpus@{digest}") == Reference("corpus", "main", digest)


@pytest.mark.parametrize("text", ["nothing", "nothing:v1", "Not A Name"])
def test_neither(filled: LayoutStore, here: Path, text: str) -> None:
    with pytest.raises(InvalidDataset, match="neither a directory nor a dataset"):
        find_dataset(filled, text)


def test_a_dataset_is_found_by_its_digest(filled: LayoutStore, here: Path) -> None:
    done = add_dataset(filled, NAME, here / "corpus", Catalog([]))
    assert find_by_digest(filled, done.manifest.digest) == Reference(
        "corpus", "main", done.manifest.digest
    )
    assert load_dataset(filled, NAME)[1].digest == done.manifest.digest
    other = describe_dataset(here / "other").describe().digest
    assert find_by_digest(filled, other) is None
    assert find_by_digest(filled, filled.tags()["own:v1"].digest) is None
    with pytest.raises(InvalidModel, match="is a weight set, and a dataset is needed"):
        load_dataset(filled, Reference.parse("own:v1"))
    with pytest.raises(TagNotFound):
        load_dataset(filled, Reference.parse("nothing"))
