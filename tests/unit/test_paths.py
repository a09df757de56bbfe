from __future__ import annotations

import pytest

from xttsreg.content.paths import check_distinct_paths, check_relative_path
from xttsreg.errors import UnsafePath


@pytest.mark.parametrize(
    "path",
    ["model.pth", "wavs/a.wav", "a/b/c", ".hidden", "ünï/日本.txt", "console.txt", "comma,s"],
)
def test_accepts(path: str) -> None:
    assert check_relative_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/etc/passwd", "..", "../a", "a/../b", "a/..", ".", "./a", "a/./b", "a//b", "a/",
        "a\\b", "..\\a", "C:a", "a:stream", "a\0b", "a\nb", "a\x7f", "a*", "a?", "<a", "a>", 'a"', "a|",
        "a.", "a ", "a /b", "con", "CON", "nul.txt", "COM1", "lpt9.x", "com¹", "aux/b", "conin$",
        "a\ud800", "x" * 241, "d/" * 120 + "f",
    ],
)  # fmt: skip
def test_refuses(path: str) -> None:
    with pytest.raises(UnsafePath) as caught:
        check_relative_path(path)
    assert caught.value.exit_code == 4
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "paths",
    [
        ["a", "a"],
        ["Model.pth", "model.PTH"],
        ["straße", "STRASSE"],
        ["d/\u00e9", "d/e\u0301"],  # one name on macOS
        ["a", "a/b"],  # a file and a directory
        ["a/b/c", "A/B"],
    ],
)
def test_names_that_fall_together_are_refused(paths: list[str]) -> None:
    for order in (paths, paths[::-1]):
        with pytest.raises(UnsafePath):
            check_distinct_paths(order)


def test_distinct_names_are_fine() -> None:
    check_distinct_paths(["a", "ab", "b/a", "b/ab", "a.b"])
