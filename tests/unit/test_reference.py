from __future__ import annotations

import pytest

from xttsreg.content.digest import Digest
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidReference, XttsregError

DIGEST = Digest.of(b"x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("xtts_v2", Reference("xtts_v2", "main")),
        ("xtts_v2:main", Reference("xtts_v2", "main")),
        ("my-voice:v3", Reference("my-voice", "v3")),
        ("team/my--voice:V3.1_b", Reference("team/my--voice", "V3.1_b")),
        (f"a@{DIGEST}", Reference("a", "main", DIGEST)),
        (f"a:b@{DIGEST}", Reference("a", "b", DIGEST)),
    ],
)
def test_parses(text: str, expected: Reference) -> None:
    assert Reference.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", ":", ":tag", "a:", "A", "a b", "a:b c", "/a", "a/", "a//b", "-a", "a-", "a..b",
        "a:.hidden", "a:-x", "a\n", "a:b\n", "ä", "a" * 201, "a:" + "t" * 129, "a:b:c",
        "http://host/a",
    ],
)  # fmt: skip
def test_refuses(text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(text)
    assert caught.value.hint


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:abc", f"{DIGEST}@{DIGEST}"])
def test_refuses_a_digest_that_is_none(digest: str) -> None:
    with pytest.raises(XttsregError) as caught:
        Reference.parse(f"a:b@{digest}")
    assert caught.value.exit_code == 2


def test_tagged_leaves_the_digest_out() -> None:
    reference = Reference("a", "b", DIGEST)
    assert (reference.tagged, str(reference)) == ("a:b", f"a:b@{DIGEST}")
