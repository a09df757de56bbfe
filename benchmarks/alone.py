"""One measurement by itself: what ``python -m benchmarks.NAME`` does for each of them."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.results import Section

Measure = Callable[[argparse.Namespace, Path], Section | None]


def alone(
    parser: argparse.ArgumentParser, measure: Measure, arguments: Sequence[str] | None
) -> None:
    """Parse, measure, print, and write it down if that is wanted.

    Args:
        parser: With the options of this measurement; those of all are added here.
        measure: Gets what was given, and a directory for files.
        arguments: Of the command line.
    """
    parser.add_argument("--directory", type=Path, help="keeps the files for the next time")
    parser.add_argument("--record", action="store_true", help="write it into RESULTS.md")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="xttsreg-bench-") as scratch:
        Path(scratch).chmod(0o755)  # nginx that root has started reads as somebody else
        directory = (given.directory or Path(scratch)).absolute()
        directory.mkdir(parents=True, exist_ok=True)
        section = measure(given, directory)
    if section is None:
        return
    goals = ["", *results.goal_lines(section.goals)] if section.goals else []
    print("\n".join([*section.lines, *goals]))
    if given.record:
        results.record(section)
