"""Paths, ranges and trees of `serve`: what is refused before anything is looked up."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from support import SIZES

from xttsreg.catalog import Catalog
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.hub import commit_id, git_blob_id, is_large, pointer
from xttsreg.serve import hub
from xttsreg.serve.hub import list_tree
from xttsreg.serve.paths import MAX_PATH_BYTES, BadPath, byte_range, split_path
from xttsreg.serve.proofs import Proofs
from xttsreg.serve.shelf import Shelf
from xttsreg.stores.layout import LayoutStore


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/", ()),
        ("/own", ("own",)),
        ("/own/", ("own",)),
        ("/a/b%20c?x=/../y#z", ("a", "b c")),
        ("/%C3%A4/%25", ("ä", "%")),
        ("/v2/own/blobs/sha256:00", ("v2", "own", "blobs", "sha256:00")),
    ],
)
def test_split_path(path: str, segments: tuple[str, ...]) -> None:
    assert split_path(path) == segments


@pytest.mark.parametrize(
    "path",
    [
        "", "own", "*", "//own", "/own//x", "/..", "/own/../x", "/own/%2e%2e/x", "/own/%2E./x",
        "/own/./x", "/own/a%2fb", "/own/a%5Cb", "/own/a\\b", "/own/%00", "/own/a%0ab", "/own/%7f",
        "/own/%", "/own/%4", "/own/%zz", "/own/%ff", "/own/%c0%ae%c0%ae/x", "http://host/own",
        "/" + "a" * MAX_PATH_BYTES,
    ],
)  # fmt: skip
def test_odd_paths_are_refused(path: str) -> None:
    with pytest.raises(BadPath):
        split_path(path)


@given(st.text())
def test_a_segment_never_leads_elsewhere(text: str) -> None:
    try:
        segments = split_path("/" + text)
    except (BadPath, UnicodeEncodeError):
        return
    for segment in segments:
        assert segment not in ("", ".", "..")
        assert not set("/\\\0") & set(segment)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, None),
        ("bytes=0-", (0, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=-0", (100, 100)),
        ("bytes=100-", (100, 100)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("bytes=" + ",".join(["0-0"] * 1000), None),
        ("lines=1-2", None),
        ("bytes=a-b", None),
        ("bytes=" + "9" * 30 + "-", None),
    ],
)
def test_byte_range(header: str | None, found: tuple[int, int] | None) -> None:
    assert byte_range(header, 100) == found


@given(st.integers(0, 200), st.integers(0, 200) | st.none(), st.integers(0, 150))
def test_a_range_is_what_python_slices(first: int, last: int | None, size: int) -> None:
    asked = byte_range(f"bytes={first}-{'' if last is None else last}", size)
    data = bytes(i % 251 for i in range(size))
    wanted = data[first:] if last is None else data[first : last + 1]
    if last is not None and last < first:
        assert asked is None
    else:
        assert asked is not None
        assert data[asked[0] : asked[1]] == wanted


def _blob() -> Descriptor:
    return Descriptor(media_type="x", digest=Digest.of(b""), size_bytes=0)


def test_trees() -> None:
    files = {name: _blob() for name in ("a", "d/b", "d/e/c")}
    assert list(list_tree(files, "", recursive=False) or ()) == ["a", "d"]
    assert set(list_tree(files, "", recursive=True) or ()) == {"a", "d", "d/b", "d/e", "d/e/c"}
    assert set(list_tree(files, "d", recursive=False) or ()) == {"d/b", "d/e"}
    assert list_tree(files, "nothing", recursive=True) is None
    assert list_tree(files, "a", recursive=False) is None


def test_the_names_that_git_and_lfs_give() -> None:
    assert git_blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert pointer(Digest.of(b""), 0).decode() == (
        "version https://git-lfs.github.com/spec/v1\n"
        "oid sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\nsize 0\n"
    )
    assert is_large("x/MODEL.PTH", 1)
    assert is_large("config.json", 10_000_000)
    assert not is_large("config.json", 9_999_999)
    assert len(commit_id(Digest.of(b""))) == 40


def test_a_long_tree_comes_in_pages(filled: LayoutStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PAGE_FILES", 3)
    site = hub.Hub(Shelf(filled, Catalog([])), Proofs(filled))
    found, url = [], "/api/models/own/tree/v1?recursive=True"
    headers = {"Host": "node:8000", "X-Forwarded-Proto": "https"}
    pages = 0
    while url:
        request = make_mocked_request("GET", url, headers=headers)
        answer = asyncio.run(site.api(request, split_path(url)[1:]))
        found += [entry["path"] for entry in json.loads(answer.body)]  # type: ignore[attr-defined]
        link = answer.headers.get("Link", "")
        pages += 1
        assert not link or link.startswith("<https://node:8000/") and link.endswith('>; rel="next"')
        url = link[1:].partition(">")[0].removeprefix("https://node:8000")
    assert pages == 3
    assert found == sorted(SIZES)
