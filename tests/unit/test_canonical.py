from __future__ import annotations

import pytest

from xttsreg.content.canonical import dump_canonical, load_strict
from xttsreg.errors import InvalidManifest


def test_keys_sorted_no_space_no_escapes_no_newline() -> None:
    assert (
        dump_canonical({"ü": [1, True, None], "a": "é"}) == '{"a":"é","ü":[1,true,null]}'.encode()
    )


def test_nan_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        dump_canonical({"a": float("nan")})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[1]", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (b'{"a":1,"a":1}', "twice"),
        (b'{"x":{"a":1,"a":2}}', "twice"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "Infinity"),
        (b'{"a":"\xff"}', "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deep"),
        (b'{"a":' + b"9" * 5_000 + b"}", "not valid JSON"),
    ],
)
def test_refuses(data: bytes, says: str) -> None:
    with pytest.raises(InvalidManifest, match=says) as caught:
        load_strict(data, what="thing")
    assert caught.value.message.startswith("thing")


def test_what_is_too_long_is_not_parsed() -> None:
    with pytest.raises(InvalidManifest, match="more than 10"):
        load_strict(b"not even json", what="x", limit_bytes=10)
    assert load_strict(b'{"a":1234}', what="x", limit_bytes=10) == {"a": 1234}
