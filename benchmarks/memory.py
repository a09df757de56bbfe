"""How much memory the longest file takes: a sparse blob of 50 GB, which needs no disk.

``python -m benchmarks.memory [--gigabytes N] [--directory DIR] [--record]`` puts such a file into a
store and measures the peak of `verify --no-cache`. What reads and writes at once would need the
disk; its peak with the full set is among the figures of `benchmarks.transfer`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path

from benchmarks.alone import alone
from benchmarks.race import XTTSREG, gone, timed
from benchmarks.results import Goal, Section
from xttsreg.content.digest import Digest
from xttsreg.content.modelpack import CONFIG_TYPE, ModelInfo, build_model, file_layer
from xttsreg.content.stream import CHUNK_BYTES, digest_chunks
from xttsreg.stores.layout import LayoutStore

# To hash what `make bench` takes would be a third of the time; if it were wrong, verify would fail.
_KNOWN = {50 * 10**9: "sha256:d5883a7ec7b03062f89deb1a53cc632e76af7a0f6dcf88fb48f6cba7d9035f5a"}


def zeros(size_bytes: int) -> Iterator[bytes]:
    """What is read from such a file; to make them here takes a third of the time."""
    whole, rest = divmod(size_bytes, CHUNK_BYTES)
    chunk = bytes(CHUNK_BYTES)
    yield from repeat(chunk, whole)
    yield chunk[:rest]


def make_store(root: Path, size_bytes: int) -> LayoutStore:
    """A store of one sparse file."""
    store = LayoutStore.create(root / "store")
    sparse = root / "sparse"
    with sparse.open("wb") as file:
        file.truncate(size_bytes)
    known = _KNOWN.get(size_bytes)
    digest = Digest(known) if known else digest_chunks(zeros(size_bytes))[0]
    layer = file_layer("model.pth", digest, size_bytes)
    with store.writing():
        sparse.rename(store.blob_path(layer.digest))
        config, manifest = build_model(ModelInfo(name="sparse"), [layer])
        store.put_bytes(CONFIG_TYPE, config)
        entry = store.put_bytes(manifest.media_type, manifest.to_bytes())
        store.tag("sparse:v1", entry)
    return store


def run(directory: Path, gigabytes: int) -> Section:
    """Measure, and return the lines of the result."""
    root = gone(directory / "memory")
    root.mkdir(parents=True)
    store = make_store(root, gigabytes * 10**9)
    used = sum(path.stat().st_blocks * 512 for path in store.root.rglob("*"))
    command = [*XTTSREG, "verify", "--no-cache", "--store", store.root]
    one = timed(command)
    rate, peak_mb = gigabytes / one.seconds, one.peak_bytes / 1e6
    gone(root)
    return Section(
        title="Memory",
        command=f"python -m benchmarks.memory --gigabytes {gigabytes} --record",
        lines=[f"a blob of {gigabytes} GB that takes {used / 1e6:.1f} MB of the disk",
               f"verify --no-cache: {one.seconds:.0f} s, {rate:.2f} GB/s, peak {peak_mb:.0f} MB"],
        goals=[Goal(what=f"peak memory of verify, blob of {gigabytes} GB", limit=150,
                    found=peak_mb, unit="MB")],
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=int, default=50)
    alone(parser, lambda given, place: run(place, given.gigabytes), arguments)


if __name__ == "__main__":
    main()
