from __future__ import annotations

import contextlib
from typing import Any

import pytest

from xttsreg.content.bundle import Bundle, format_sums, parse_sums
from xttsreg.content.canonical import dump_canonical
from xttsreg.content.digest import Digest
from xttsreg.errors import InvalidInputError, InvalidManifest, NewerFormat, UnsafePath

A, B = Digest.of(b"a"), Digest.of(b"b")


def listing(**changes: Any) -> bytes:
    value = {
        "format_version": 1,
        "bundle_id": "x",
        "created": "2026-01-01T00:00:00Z",
        "tool": "t",
        "refs": [{"ref": "a:1", "digest": A}],
        "files": [{"path": "blobs/sha256/a", "size_bytes": 1, "digest": A}],
    }
    return dump_canonical({**value, **changes})


def test_parses_and_keeps_fields_of_later_versions() -> None:
    data = listing(previous="y")
    assert dump_canonical(Bundle.parse(data).to_json()) == data


def test_same_content_does_not_look_at_id_and_date() -> None:
    one, two = Bundle.parse(listing()), Bundle.parse(listing(bundle_id="z", created="now"))
    assert one.same_content(two)
    assert not one.same_content(Bundle.parse(listing(refs=[])))


def test_a_newer_format_is_said_before_anything_else_is_read() -> None:
    with pytest.raises(NewerFormat, match="version 2") as caught:
        Bundle.parse(dump_canonical({"format_version": 2, "all": "different"}))
    assert (caught.value.exit_code, bool(caught.value.hint)) == (2, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": 0},
        {"format_version": "1"},
        {"format_version": True},
        {"format_version": None},
        {"refs": [{"ref": "a:1", "digest": "abc"}]},
        {"refs": [{"ref": "Not A Name", "digest": A}]},
        {"refs": [{"ref": "a", "digest": A}]},
        {"refs": [{"ref": f"a:1@{A}", "digest": A}]},
        {"refs": [{"ref": "a:1\u001b[2J", "digest": A}]},
        {"files": [{"path": "a", "size_bytes": -1, "digest": A}]},
        {"files": [{"path": "a", "size_bytes": 1.5, "digest": A}]},
        {"files": [{"path": "a", "digest": A}]},
        {"files": None},
    ],
)
def test_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Bundle.parse(listing(**changes))


@pytest.mark.parametrize("paths", [["../x"], ["/etc/x"], ["a", "A"], ["a", "a/b"], ["a\\b"]])
def test_unsafe_names(paths: list[str]) -> None:
    files = [{"path": path, "size_bytes": 1, "digest": A} for path in paths]
    with pytest.raises(UnsafePath):
        Bundle.parse(listing(files=files))


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
