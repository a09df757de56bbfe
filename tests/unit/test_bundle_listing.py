from __future__ import annotations

import contextlib
from typing import Any

import pytest

from xttsreg.content.bundle import Bundle, format_sums, parse_sums
from xttsreg.content.canonical import dump_canonical
from xttsreg.content.digest import Digest
from xttsreg.errors import InvalidInputError, InvalidManifest, NewerFormat, UnsafePath

A, B = Digest.of(b"a"), Digest.of(b"b")
ID = "01234567-89ab-4cde-8f01-23456789abcd"


def file(path: str, *, size_bytes: int = 1, digest: str = A, volume: int = 1) -> dict[str, Any]:
    return {"path": path, "size_bytes": size_bytes, "digest": digest, "volume": volume}


def listing(**changes: Any) -> bytes:
    value = {
        "format_version": 2,
        "bundle_id": ID,
        "sequence": 7,
        "previous": None,
        "created": "2026-01-01T00:00:00Z",
        "tool": "t",
        "volumes": 1,
        "refs": [{"ref": "a:1", "digest": A}],
        "based_on": [],
        "requires": [],
        "files": [file("a"), file("b")],
        "parts": [],
    }
    return dump_canonical({**value, **changes})


def test_parses_and_keeps_fields_of_later_versions() -> None:
    data = listing(colour="blue")
    assert dump_canonical(Bundle.parse(data).to_json()) == data


def test_a_newer_format_is_said_before_anything_else_is_read() -> None:
    with pytest.raises(NewerFormat, match="version 3") as caught:
        Bundle.parse(dump_canonical({"format_version": 3, "all": "different"}))
    assert (caught.value.exit_code, bool(caught.value.hint)) == (2, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": 0},
        {"format_version": 1},
        {"format_version": "1"},
        {"format_version": True},
        {"format_version": None},
        {"refs": [{"ref": "a:1", "digest": "abc"}]},
        {"refs": [{"ref": "Not A Name", "digest": A}]},
        {"refs": [{"ref": "a", "digest": A}]},
        {"refs": [{"ref": f"a:1@{A}", "digest": A}]},
        {"refs": [{"ref": "a:1\u001b[2J", "digest": A}]},
        {"files": [file("a", size_bytes=-1)]},
        {"files": [file("a") | {"size_bytes": 1.5}]},
        {"files": [{"path": "a", "digest": A}]},
        {"files": None},
        {"bundle_id": "../x"},
        {"bundle_id": ID.upper()},
        {"previous": "x"},
        {"sequence": 0},
        {"sequence": 2**53},
        {"sequence": "7"},
        {"volumes": 0},
        {"volumes": 2},
        {"files": [file("a", volume=2)]},
        {"files": [file(f"blobs/sha256/{B.hex}")]},
        {"requires": [{"digest": A, "size_bytes": 1}], "files": [file(f"blobs/sha256/{A.hex}")]},
    ],
)
def test_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Bundle.parse(listing(**changes))


@pytest.mark.parametrize(
    "paths", [["../x"], ["/etc/x"], ["a", "A"], ["a", "a/b"], ["a\\b"], ["SHA256sums"]]
)
def test_unsafe_names(paths: list[str]) -> None:
    files = [file(path) for path in paths]
    with pytest.raises(UnsafePath):
        Bundle.parse(listing(files=files))


# --- volumes and parts --------------------------------------------------------------------------

PARTS = [f"parts/sha256/{A.hex}.{number:03}" for number in range(3)]
SPLIT = {"digest": A, "size_bytes": 6, "paths": PARTS}


def split_listing(**changes: Any) -> bytes:
    parts = [file(path, size_bytes=n + 1, volume=n % 2 + 1) for n, path in enumerate(PARTS)]
    value = {"volumes": 2, "files": [file("x", volume=0), *parts], "parts": [SPLIT]}
    return listing(**{**value, **changes})


def test_a_volume_is_known_by_its_files() -> None:
    bundle = Bundle.parse(split_listing())
    assert list(bundle.volume_files(1)) == ["x", PARTS[0], PARTS[2]]
    assert bundle.volume_of(["x", PARTS[1]]) == 2
    assert bundle.volume_of([PARTS[1]]) is None
    assert bundle.carried() == {A: 6}


@pytest.mark.parametrize(
    "changes",
    [
        {"parts": []},
        {"parts": [SPLIT | {"size_bytes": 7}]},
        {"parts": [SPLIT | {"paths": PARTS[::-1]}]},
        {"parts": [SPLIT | {"paths": PARTS[:2]}]},
        {"parts": [SPLIT | {"paths": []}]},
        {"parts": [SPLIT | {"digest": B}]},
        {"parts": [SPLIT, SPLIT]},
        {"volumes": 3},
        {"requires": [{"digest": A, "size_bytes": 6}]},
    ],
)
def test_parts_that_do_not_fit_together(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidManifest):
        Bundle.parse(split_listing(**changes))


# --- SHA256SUMS ---------------------------------------------------------------------------------


def test_sums_as_sha256sum_writes_them() -> None:
    assert format_sums({"b": B, "a/x": A}) == f"{A.hex}  a/x\n{B.hex}  b\n".encode()
    assert parse_sums(f"{A.hex} *a/x\n{B.hex}  b".encode()) == {"a/x": A, "b": B}
    assert parse_sums(b"") == {}


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "\n",
        f"{A.hex} a",
        f"{A.hex}\ta",
        f"{A.hex.upper()}  a",
        f"{A.hex[:-1]}  a",
        f"{A.hex}  a\n\n",
        f"{A.hex}  a\n{B.hex}  a\n",
        f"{A.hex}  ",
        f"\ufeff{A.hex}  a",
    ],
)
def test_sums_refuse(text: str) -> None:
    with pytest.raises(InvalidManifest):
        parse_sums(text.encode())


@pytest.mark.parametrize("end", ["\v", "\f", "\x1c", "\x85", "\u2028", "\r", "\r\n"])
def test_only_a_newline_ends_a_line(end: str) -> None:
    """As sha256sum reads it: anything else is a part of the name, and such names are refused."""
    text = f"{A.hex}  a{end}{B.hex}  b\n"
    with contextlib.suppress(UnsafePath, InvalidManifest):
        assert parse_sums(text.encode()).keys() != {"a", "b"}


@pytest.mark.parametrize("path", ["../a", "/a", "a\\b", "C:a"])
def test_sums_refuse_unsafe_names(path: str) -> None:
    with pytest.raises(UnsafePath):
        parse_sums(f"{A.hex}  {path}\n".encode())


def test_sums_that_are_no_text() -> None:
    with pytest.raises(InvalidManifest):
        parse_sums(b"\xff\xfe")
