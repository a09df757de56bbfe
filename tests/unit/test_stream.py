from __future__ import annotations

import io

import pytest
from support import blob_of

from xttsreg.content.digest import Digest
from xttsreg.content.stream import (
    CHUNK_BYTES,
    VerifyingReader,
    digest_stream,
    read_verified,
)
from xttsreg.errors import DigestMismatch, SizeMismatch

DATA = bytes(range(256)) * 20


def test_the_described_bytes_come_out() -> None:
    assert read_verified(io.BytesIO(DATA), blob_of(DATA)) == DATA
    assert read_verified(io.BytesIO(b""), blob_of(b"")) == b""


def test_shorter_and_longer_and_different() -> None:
    with pytest.raises(SizeMismatch) as short:
        read_verified(io.BytesIO(DATA[:-1]), blob_of(DATA), what="f.bin")
    assert (short.value.expected_bytes, short.value.actual_bytes) == (len(DATA), len(DATA) - 1)
    assert short.value.message.startswith("f.bin")
    with pytest.raises(SizeMismatch):
        read_verified(io.BytesIO(DATA + b"x"), blob_of(DATA))
    other = b"\1" + DATA[1:]
    with pytest.raises(DigestMismatch) as different:
        read_verified(io.BytesIO(other), blob_of(DATA))
    assert different.value.actual == Digest.of(other)


def test_a_source_without_end_is_cut_off_at_the_size() -> None:
    class Endless:
        read_bytes = 0

        def read(self, size: int = -1) -> bytes:
            assert size > 0, "asked for everything"
            self.read_bytes += size
            return b"\0" * size

    source = Endless()
    with pytest.raises(SizeMismatch):
        read_verified(source, blob_of(DATA))
    assert source.read_bytes <= len(DATA) + 1


def test_read_without_a_size_is_checked_at_the_end_too() -> None:
    reader = VerifyingReader(io.BytesIO(DATA[:-1] + b"x"), blob_of(DATA))
    assert len(reader.read()) == len(DATA)
    with pytest.raises(DigestMismatch):
        reader.read()


def test_digest_stream_counts_and_reports() -> None:
    data, steps = b"z" * (2 * CHUNK_BYTES + 5), list[int]()
    assert digest_stream(io.BytesIO(data), steps.append) == (Digest.of(data), len(data))
    assert sum(steps) == len(data)
    assert max(steps) <= CHUNK_BYTES
