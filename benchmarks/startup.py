"""How long the command line takes to start, in relation to bare Python."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.alone import alone
from benchmarks.race import XTTSREG, Lane, quietly, race, table
from benchmarks.results import Goal, Section

ROUNDS = 9
_BARE = "python -c pass"


def run(directory: Path, rounds: int = ROUNDS) -> Section:
    """Measure, and return the lines of the result."""
    empty = directory / "none"
    commands: dict[str, Sequence[object]] = {
        _BARE: [sys.executable, "-c", "pass"],
        "xttsreg --version": [*XTTSREG, "--version"],
        "xttsreg --help": [*XTTSREG, "--help"],
        "xttsreg catalog ls": [*XTTSREG, "catalog", "ls"],
        "xttsreg gc --dry-run, empty store": [*XTTSREG, "gc", "--dry-run", "--store", empty],
    }
    from xttsreg.stores.layout import LayoutStore

    LayoutStore.create(empty)
    for command in commands.values():
        quietly(command)  # compiles the modules
    found = race([Lane(name=name, command=one) for name, one in commands.items()], rounds)
    over_ms = (found["xttsreg --version"].cpu_median - found[_BARE].cpu_median) * 1000
    return Section(
        title="Start",
        command="python -m benchmarks.startup --record",
        lines=[f"median of {rounds} rounds in turns", *table("", found, _BARE)],
        goals=[Goal(what="xttsreg --version beyond bare Python, CPU", limit=60, found=over_ms,
                    unit="ms")],
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the comparison."""
    alone(argparse.ArgumentParser(description=__doc__), lambda _, place: run(place), arguments)


if __name__ == "__main__":
    main()
