"""bundle and import onto a disk as slow as a stick is, against cp.

``python -m benchmarks.slowdisk [--size SIZE] [--rounds N] [--mb-s N] [--directory DIR] [--record]``
has the kernel hold the disk back while it runs, for everybody on this machine: for root, on Linux
with the ``blkio`` controller of cgroups version 1. Elsewhere it says so, and measures nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.alone import alone
from benchmarks.race import Lane, gone, race, table
from benchmarks.results import Goal, Section
from benchmarks.transfer import Bench

_LIMIT = Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device")


@contextmanager
def slow_disk(directory: Path, bytes_per_s: int) -> Iterator[None]:
    """Let nobody write more to the disk below ``directory``."""
    device = directory.stat().st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    _LIMIT.write_text(f"{name} {bytes_per_s}")
    try:
        yield
    finally:
        _LIMIT.write_text(f"{name} 0")


def _lanes(found: Iterator[Lane]) -> Iterator[Lane]:
    """Ours and cp, each on a disk that has nothing left to write."""
    for lane in found:
        if lane.name in ("cp", "xttsreg bundle", "xttsreg import"):
            yield replace(lane, before=partial(_ready, lane.before))


def _ready(before: Callable[[], object]) -> None:
    before()
    os.sync()


def run(directory: Path, size: str, rounds: int, mb_per_s: int) -> Section | None:
    """Measure both, where the kernel can do that."""
    if not os.access(_LIMIT, os.W_OK):
        print(f"no way to slow a disk down here: {_LIMIT} cannot be written", file=sys.stderr)
        return None
    bench = Bench(directory, size)
    lines, goals = [], []
    with slow_disk(bench.root, mb_per_s * 1_000_000):
        for job, lanes in (("bundle", bench.ways_to_bundle()), ("import", bench.ways_to_import())):
            found = race(_lanes(lanes), rounds)
            lines += [*table(job, found, "cp"), ""]
            ratio = found[f"xttsreg {job}"].median / found["cp"].median
            goals.append(Goal(what=f"{job} to cp, both synced, disk of {mb_per_s} MB/s",
                              limit=1.25, found=ratio))  # fmt: skip
    gone(bench.root)
    return Section(
        title=f"Bundles and stores on a slow disk, {size} set",
        command=f"python -m benchmarks.slowdisk --size {size} --rounds {rounds} "
        f"--mb-s {mb_per_s} --record",
        lines=[f"median of {rounds} rounds in turns; the kernel lets {mb_per_s} MB/s through", "",
               *lines[:-1]],
        goals=goals,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slowdisk")
    parser.add_argument("--size", choices=("small", "tiny", "full"), default="full")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mb-s", type=int, default=300, help="of a good stick or a hard disk")
    alone(parser, lambda given, directory: run(directory, given.size, given.rounds, given.mb_s),
          arguments)  # fmt: skip


if __name__ == "__main__":
    main()
