"""``python -m benchmarks [--quick] [--directory DIR]``: every measurement there is.

Writes each section of ``RESULTS.md`` when it is measured, with the table of goals and the picture.
``--quick`` takes tiny files and few rounds, to see that all of it runs; its figures mean nothing,
so they go into the directory.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import (
    fetching,
    growth,
    memory,
    peers,
    pushing,
    results,
    scale,
    serving,
    startup,
    training,
    transfer,
)
from benchmarks.results import Section

Measure = Callable[[], Section | None]
DIRECTORY = Path(__file__).resolve().parent.parent / ".bench"


def everything(directory: Path) -> Iterator[Measure]:
    """At the size that counts; about a quarter of an hour on two cores and a disk of one's own."""
    yield lambda: startup.run(directory)
    yield lambda: scale.run(directory, 10_000, 5)
    yield lambda: growth.run(directory, 100, 1)
    yield lambda: transfer.run(directory, "full", 2)
    yield lambda: fetching.run(directory, "full", 2)
    yield lambda: memory.run(directory, 50)
    yield lambda: training.run(directory, "tiny", 1)
    yield lambda: serving.run(directory, 1)
    yield lambda: pushing.run(directory, "full", 1)


def quick(directory: Path) -> Iterator[Measure]:
    """Each of them once, as small as it gets."""
    yield lambda: startup.run(directory, 1)
    yield lambda: scale.run(directory, 200, 1)
    yield lambda: growth.run(directory, 3, 1)
    yield lambda: memory.run(directory, 1)
    yield lambda: transfer.run(directory, "small", 1)
    yield lambda: fetching.run(directory, "small", 1)
    yield lambda: serving.run(directory, 1, serving.SMALL)
    yield lambda: pushing.run(directory, "small", 1)


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="for the files")
    given = parser.parse_args()
    directory: Path = given.directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    peers.find(directory, install=not given.quick)
    path = directory / "RESULTS.md" if given.quick else results.PATH
    for measure in quick(directory) if given.quick else everything(directory):
        began = time.monotonic()
        section = measure()
        if section:
            results.record(section, path)
            print(f"== {section.title} ({time.monotonic() - began:.0f} s)")
            print("\n".join(section.lines), flush=True)
    print(path)


if __name__ == "__main__":
    main()
