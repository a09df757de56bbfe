from __future__ import annotations

import random
import threading

from xttsreg.content.digest import Digest
from xttsreg.content.hashing import BackgroundHash


def test_the_digest_is_that_of_all_chunks_in_order_whatever_their_size() -> None:
    rng = random.Random(5)
    data = rng.randbytes(9_000_000)
    for sizes in ([9_000_000], [1] * 3 + [2_500_000, 7, 300_000], [65_536]):
        hasher, offset, number = BackgroundHash(), 0, 0
        while offset < len(data):
            size = sizes[number % len(sizes)]
            hasher.update(data[offset : offset + size])
            offset, number = offset + size, number + 1
        assert hasher.digest() == Digest.of(data)
    assert BackgroundHash().digest() == Digest.of(b"")


def test_it_can_be_asked_in_between_and_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    hasher, chunk = BackgroundHash(), b"x" * 1_000_000
    for count in range(1, 7):
        hasher.update(chunk)
        assert hasher.digest() == Digest.of(chunk * count)
    for _ in range(5):
        hasher.update(chunk)
    assert threading.active_count() == before + 1
    hasher.digest()
    assert threading.active_count() == before
