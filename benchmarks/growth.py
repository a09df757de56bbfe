"""What one more voice costs: store, bundle and verification for 1 to 100 voices of one base.

``python -m benchmarks.growth [--voices N] [--directory DIR] [--record]``. Files have a
two hundredth of the real sizes; what is counted are bytes on the disk, against folders that hold
all files, as copies of a training's output would be. `verify` is timed in turns with ``sha256sum``
over the same blobs.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.alone import alone
from benchmarks.race import XTTSREG, Lane, gone, quietly, race
from benchmarks.results import Section
from xttsreg.content.artifacts import BASE
from xttsreg.content.modelpack import CONFIG_TYPE, ModelInfo, build_model, file_layer
from xttsreg.content.stream import digest_stream
from xttsreg.stores.layout import LayoutStore

SHARED = {"config.json": 4_368, "vocab.json": 361_219 // 200, "LICENSE.txt": 4_014,
          "speakers_xtts.pth": 7_754_818 // 200}  # fmt: skip
DVAE_BYTES, MODEL_BYTES = 210_514_388 // 200, 1_867_929_118 // 200
STEPS = (1, 3, 10, 30, 100)
Curves = dict[str, list[tuple[float, float]]]


class Growing:
    """A store, and the folders that it would be otherwise."""

    def __init__(self, root: Path) -> None:
        self.root, self.files = root, root / "files"
        self.files.mkdir(parents=True)
        self.store = LayoutStore.create(root / "store")
        for name, size_bytes in {**SHARED, "dvae.pth": DVAE_BYTES}.items():
            (self.files / name).write_bytes(os.urandom(size_bytes))
        self.plain_bytes = 0
        self.take("base", [*SHARED, "dvae.pth"])

    def take(self, name: str, files: Sequence[str]) -> None:
        """One more set with a model of its own."""
        (self.files / "model.pth").write_bytes(os.urandom(MODEL_BYTES))
        with self.store.writing():
            layers = []
            for path in [self.files / file for file in (*files, "model.pth")]:
                with path.open("rb", buffering=0) as raw:
                    layers.append(file_layer(path.name, *digest_stream(raw)))
                if not self.store.has(layers[-1]):
                    self.store.stage_file(layers[-1], path)()
                self.plain_bytes += path.stat().st_size
            base = self.store.tags().get("base:v1")
            notes = {BASE: f"base:v1@{base.digest}"} if base else {}
            config, manifest = build_model(ModelInfo(name=name, annotations=notes), layers)
            self.store.put_bytes(CONFIG_TYPE, config)
            self.store.tag(
                f"{name}:v1", self.store.put_bytes(manifest.media_type, manifest.to_bytes())
            )

    def command(self, *arguments: object) -> list[str]:
        """A command line of xttsreg."""
        return [*XTTSREG, *map(str, arguments), "--store", str(self.store.root)]

    def bundle(self, *arguments: object) -> int:
        """Bytes of a bundle."""
        stick = gone(self.root / "stick")
        quietly(self.command("bundle", *arguments, "-o", stick))
        size_bytes = on_disk(stick)
        gone(stick)
        return size_bytes


def on_disk(directory: Path) -> int:
    """Bytes of all files below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def measure(root: Path, voices: int, rounds: int) -> tuple[list[str], Curves]:
    """Lines, and what is drawn."""
    growing, made = Growing(root), 0
    lines = [f"{'voices':>6}{'folders MB':>12}{'store MB':>10}{'bundle MB':>11}{'1 more MB':>11}"
             f"{'verify s':>10}{'--no-cache':>12}{'sha256sum':>11}"]  # fmt: skip
    names = ("folders", "store", "bundle", "more", "verify", "verify_all")
    curves: Curves = {name: [] for name in names}
    for count in [step for step in STEPS if step <= voices]:
        while made < count:
            made += 1
            growing.take(f"voice-{made}", list(SHARED))
        bundle = growing.bundle(*sorted(growing.store.tags()))
        more = growing.bundle(f"voice-{made}:v1", "--thin")
        blobs = growing.store.root / "blobs"
        found = race([
            Lane(name="verify", command=growing.command("verify")),
            Lane(name="all", command=growing.command("verify", "--no-cache")),
            Lane(name="sha256sum", command=["find", blobs, "-type", "f", "-exec", "sha256sum",
                                            "{}", "+"]),
        ], rounds)  # fmt: skip
        sizes_mb = [size / 1e6 for size in
                    (growing.plain_bytes, on_disk(growing.store.root), bundle, more)]  # fmt: skip
        seconds = [found[name].median for name in ("verify", "all", "sha256sum")]
        lines.append(f"{count:6}{sizes_mb[0]:12.1f}{sizes_mb[1]:10.1f}{sizes_mb[2]:11.1f}"
                     f"{sizes_mb[3]:11.1f}{seconds[0]:10.2f}{seconds[1]:12.2f}"
                     f"{seconds[2]:11.2f}")  # fmt: skip
        for name, value in zip(curves, (*sizes_mb, *seconds[:2]), strict=True):
            curves[name].append((count, value))
    return lines, curves


def run(directory: Path, voices: int, rounds: int) -> Section:
    """Measure, and return the lines of the result."""
    root = gone(directory / "growth")
    root.mkdir(parents=True)
    lines, curves = measure(root, voices, rounds)
    gone(root)
    return Section(
        title="Many voices of one base",
        command=f"python -m benchmarks.growth --voices {voices} --record",
        lines=["files of 1/200 of the real sizes; '1 more' is a bundle --thin of one voice",
               *lines],
        curves=curves,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voices", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    alone(parser, lambda given, place: run(place, given.voices, given.rounds), arguments)


if __name__ == "__main__":
    main()
