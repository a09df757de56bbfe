"""How the Hugging Face hub names what it keeps: large files, git blobs, commits.

Source: the hub's answers; git's object format: a header with the size, and the bytes, in SHA-1.
"""

from __future__ import annotations

import hashlib

from xttsreg.content.digest import Digest

LARGE_BYTES = 10_000_000
"""From this size on the hub wants a file in LFS."""
_LARGE_SUFFIXES = (
    ".pth", ".pt", ".bin", ".onnx", ".safetensors", ".ckpt", ".tar", ".gz", ".zip", ".whl",
    ".wav", ".flac", ".mp3", ".ogg", ".opus", ".png",
)  # fmt: skip


def is_large(path: str, size_bytes: int, *, limit_bytes: int = LARGE_BYTES) -> bool:
    """Whether the hub keeps a file as a large one (LFS): by its name, or from 10 MB on.

    >>> is_large("model.pth", 10), is_large("config.json", 10)
    (True, False)
    """
    return path.lower().endswith(_LARGE_SUFFIXES) or size_bytes >= limit_bytes


def git_blob_id(data: bytes) -> str:
    """The id that git gives to a file with this content: 40 hex digits.

    >>> git_blob_id(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def pointer(digest: Digest, size_bytes: int) -> bytes:
    """What git holds in place of a large file. Source: git-lfs, docs/spec.md."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid {digest}\nsize {size_bytes}\n"
    ).encode("ascii")


def commit_id(manifest: Digest) -> str:
    """Forty hex digits for what has no commit: clients take nothing else for one."""
    return manifest.hex[:40]
