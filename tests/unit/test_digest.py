from __future__ import annotations

import hashlib

import pytest

from xttsreg.content.digest import Digest
from xttsreg.errors import InvalidDigest

HEX = hashlib.sha256(b"abc").hexdigest()


def test_of_is_sha256_of_the_bytes() -> None:
    assert Digest.of(b"abc") == f"sha256:{HEX}"


def test_parts() -> None:
    digest = Digest.from_hex(HEX)
    assert (digest.hex, digest.short) == (HEX, HEX[:12])


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        f"SHA256:{HEX}",
        f"sha256:{HEX.upper()}",
        f"sha512:{HEX}",
        "sha256:../../../etc/passwd",
        "sha256:" + "g" * 64,
        "sha256:" + "٠" * 64,  # digits, but not ours
        None,
        7,
    ],
)
def test_refuses_everything_else(text: object) -> None:
    with pytest.raises(InvalidDigest) as caught:
        Digest(text)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
