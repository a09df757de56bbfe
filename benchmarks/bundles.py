"""How fast bundles are written and taken in: xttsreg against ``cp``, ``sync`` and ``sha256sum``.

``python -m benchmarks.bundles [--rounds N] [--directory DIR]`` makes random files of the sizes of
XTTS_v2, and moves them with both on one disk, in turn. Only bytes matter here, so random ones do.
The best of the rounds counts. 12 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SIZES = {"model.pth": 1_867_929_118, "dvae.pth": 210_514_388, "speakers_xtts.pth": 7_754_818,
         "vocab.json": 361_219, "config.json": 4_368, "mel_stats.pth": 1_067,
         "LICENSE.txt": 4_000}  # fmt: skip
_REF = "random:v1"


def make_files(directory: Path) -> None:
    """Random files, once."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, size_bytes in SIZES.items():
        path = directory / name
        if path.exists() and path.stat().st_size == size_bytes:
            continue
        with path.open("wb") as file:
            left_bytes = size_bytes
            while left_bytes:
                left_bytes -= file.write(os.urandom(min(left_bytes, 2**24)))


def timed(command: Sequence[object], *, cwd: Path | None = None) -> float:
    """Seconds that a command takes, everything written to the disk before it and by it."""
    os.sync()
    began = time.perf_counter()
    subprocess.run([str(part) for part in command], cwd=cwd, check=True, capture_output=True)
    return time.perf_counter() - began


class Bench:
    """One directory on one disk, in which all of it happens."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        self.weights, self.home = directory / "weights", directory / "home"
        make_files(self.weights)
        if not self.home.exists():
            self.ours("add", _REF, self.weights)
        self.stick = directory / "stick"

    def ours(self, *arguments: object, home: Path | None = None) -> float:
        """Run xttsreg."""
        store = (home or self.home) / "store"
        command = [sys.executable, "-m", "xttsreg", *arguments, "--store", store]
        return timed(command, cwd=Path.cwd())

    def fresh(self, name: str) -> Path:
        """A place where nothing is yet."""
        place = self.root / name
        shutil.rmtree(place, ignore_errors=True)
        return place

    def copy_and_sync(self) -> float:
        """What a hasty person does."""
        return timed(["sh", "-c", 'cp -r "$0" "$1" && sync', self.weights, self.fresh("copy")])

    def copy_and_check(self) -> float:
        """What a careful person does: copy the stick, sync, and check it against its sums."""
        script = 'cp -r "$0" "$1" && sync && cd "$1" && sha256sum --quiet -c SHA256SUMS'
        return timed(["sh", "-c", script, self.stick, self.fresh("copy")])

    def bundle(self) -> float:
        """Write it anew."""
        return self.ours("bundle", _REF, "-o", self.fresh("stick"))

    def bundle_again(self) -> float:
        """Write what is there."""
        return self.ours("bundle", _REF, "-o", self.stick)

    def read_stick(self) -> float:
        """Read and check what is there, with the system's tool."""
        return timed(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=self.stick)

    def import_copied(self) -> float:
        """Take it in byte by byte, as from a stick: hidden from links by another owner."""
        self._own(65534)
        try:
            return self.ours("import", self.stick, home=self.fresh("second"))
        finally:
            self._own(os.getuid())

    def import_linked(self) -> float:
        """Take it in from the same disk, by hard links."""
        return self.ours("import", self.stick, home=self.fresh("second"))

    def _own(self, uid: int) -> None:
        for path in self.stick.rglob("*"):
            os.chown(path, uid, -1)


def run(directory: Path, rounds: int) -> list[str]:
    """Measure, and return the lines of the result."""
    bench = Bench(directory)
    steps: dict[str, Callable[[], float]] = {
        "cp + sync": bench.copy_and_sync,
        "bundle": bench.bundle,
        "sha256sum -c of it": bench.read_stick,
        "bundle, unchanged": bench.bundle_again,
        "cp + sync + sha256sum -c": bench.copy_and_check,
        "import, linked": bench.import_linked,
    }
    if hasattr(os, "getuid") and os.getuid() == 0:
        steps["import, copied"] = bench.import_copied
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):  # in turn, so that a slower or faster minute meets all
        for name, step in steps.items():
            found[name].append(step())
    return report({name: min(seconds) for name, seconds in found.items()}, rounds)


def report(best: dict[str, float], rounds: int) -> list[str]:
    """Return the best times and their ratios as a table."""
    total = sum(SIZES.values()) / 1e9
    lines = [f"{total:.2f} GB in {len(SIZES)} files, one disk, best of {rounds}, seconds"]
    lines += [f"{name:28}{seconds:8.2f}" for name, seconds in best.items()]
    pairs = [("bundle", "cp + sync"), ("bundle, unchanged", "sha256sum -c of it")]
    for name in ("import, linked", "import, copied"):
        pairs += [(name, "cp + sync"), (name, "cp + sync + sha256sum -c")] if name in best else []
    lines += [f"{a} / {b}: {best[a] / best[b]:.2f}" for a, b in pairs]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return [*lines, f"peak memory of any of these processes: {peak:.0f} MB"]


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bundles")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="keeps the files for the next time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = given.directory or Path(scratch)
        lines = run(directory.absolute(), given.rounds)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
