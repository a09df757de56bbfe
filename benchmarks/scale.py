"""How the verbs fare in a store of many voices.

``python -m benchmarks.scale [--voices N] [--directory DIR] [--record]`` makes a store of N voices
with small files (figures here are about names and manifests, not bytes) and times verbs on it, each
in a process of its own, and the pages and answers of `serve`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from benchmarks.alone import alone
from benchmarks.race import XTTSREG, Lane, race
from benchmarks.results import Goal, Section
from benchmarks.serving import free_port, running
from xttsreg.content.artifacts import BASE, DATASET
from xttsreg.content.descriptor import CREATED, Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import MANIFEST_TYPE, Index
from xttsreg.content.modelpack import CONFIG_TYPE, ModelInfo, build_model, file_layer
from xttsreg.stores.layout import LayoutStore

_SHARED = ("config.json", "vocab.json", "LICENSE.txt", "speakers_xtts.pth")
_VERBS = (
    ("ls, the first time", ["ls"]),
    ("ls", ["ls"]),
    ("inspect REF", ["inspect", "team/voice-77:v1"]),
    ("tag REF NEW", ["tag", "team/voice-77:v1", "team/voice-77:v2"]),
    ("rm REF", ["rm", "team/voice-77:v2"]),
    ("verify REF", ["verify", "team/voice-77:v1"]),
    ("ls after a change", ["ls"]),
    ("gc --dry-run", ["gc", "--dry-run"]),
)
_PARSE = "import json, sys; json.load(open(sys.argv[1]))"
_LS_GOAL_MS = 300
_PAGES = (
    ("serve: first page, the first time", "/"),
    ("serve: first page, after that", "/"),
    ("serve: page of a voice", "/-/show/team/voice-77:v1"),
    ("serve: info for the hub's clients", "/api/models/team/voice-5/revision/v1"),
)


def make_store(root: Path, voices: int) -> LayoutStore:
    """A store of many voices. Written plainly: with a sync for each file it would take an hour."""
    store = LayoutStore.create(root)
    shared = store.put_bytes("application/octet-stream", os.urandom(5000))
    folder = root / "blobs" / "sha256"

    def write(media_type: str, data: bytes) -> Descriptor:
        blob = Descriptor(media_type=media_type, digest=Digest.of(data), size_bytes=len(data))
        (folder / blob.digest.hex).write_bytes(data)
        return blob

    entries = []
    for number in range(voices):
        own = write("application/octet-stream", f"voice {number}".encode())
        layers = [file_layer(name, shared.digest, shared.size_bytes) for name in _SHARED]
        layers.append(file_layer("model.pth", own.digest, own.size_bytes))
        notes = {BASE: f"own:v1@sha256:{'1' * 64}", DATASET: f"sha256:{'2' * 64}",
                 CREATED: f"2026-11-{1 + number % 28:02}T10:00:00Z"}  # fmt: skip
        info = ModelInfo(name=f"voice-{number}", annotations=notes)
        config, manifest = build_model(info, layers)
        write(CONFIG_TYPE, config)
        entry = write(MANIFEST_TYPE, manifest.to_bytes())
        entries.append(entry.with_ref(f"team/voice-{number}:v1"))
    (root / "index.json").write_bytes(Index(manifests=tuple(entries)).to_bytes())
    return store


def measure(root: Path, voices: int, rounds: int) -> tuple[list[str], list[Goal]]:
    """One line a figure, in seconds."""
    store = make_store(root / "store", voices)
    store.put_bytes("application/octet-stream", b"makes our state")
    size_bytes = (store.root / "index.json").stat().st_size
    lines = [f"{'index.json, MB':38}{size_bytes / 1e6:10.2f}"]
    for label, arguments in _VERBS:
        began = time.perf_counter()
        subprocess.run([*XTTSREG, *arguments, "--store", str(store.root)], check=True,
                       capture_output=True)  # fmt: skip
        lines.append(f"{label + ', s':38}{time.perf_counter() - began:10.2f}")
    parse = [sys.executable, "-c", _PARSE, store.root / "index.json"]
    listed = [*XTTSREG, "ls", "--store", store.root]
    found = race([Lane(name="parse", command=parse), Lane(name="ls", command=listed)], rounds)
    parse_s, ls_s, cpu_s = found["parse"].median, found["ls"].median, found["ls"].cpu_median
    lines += [f"{'ls, median of rounds in turns, s':38}{ls_s:10.3f}",
              f"{'the same, processor time, s':38}{cpu_s:10.3f}",
              f"{'json.load of index.json in Python, s':38}{parse_s:10.3f}",
              f"{'ratio':38}{ls_s / parse_s:10.1f}"]  # fmt: skip
    lines += _serve(root, store)
    goal = Goal(what=f"ls of {voices} names, CPU", limit=_LS_GOAL_MS, found=cpu_s * 1000, unit="ms")
    return lines, [goal]


def _serve(root: Path, store: LayoutStore) -> list[str]:
    lines, port = [], free_port()
    command = [*XTTSREG, "serve", "--no-warm", "--quiet", "--port", str(port),
               "--store", str(store.root)]  # fmt: skip
    with running(command, port, root / "serve.log") as process:
        for label, path in _PAGES:
            began = time.perf_counter()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                answer.read()
            lines.append(f"{label + ', s':38}{time.perf_counter() - began:10.3f}")
        status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        lines.append(f"{'serve: resident, MB':38}{int(resident.split()[1]) / 1000:10.0f}")
    return lines


def run(directory: Path, voices: int, rounds: int) -> Section:
    """Measure, and return the lines of the result."""
    with tempfile.TemporaryDirectory(prefix="xttsreg-scale-", dir=directory) as scratch:
        lines, goals = measure(Path(scratch), voices, rounds)
    return Section(
        title="A store of many voices",
        command=f"python -m benchmarks.scale --voices {voices} --record",
        lines=[f"{voices} voices", *lines],
        goals=goals,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voices", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    alone(parser, lambda given, place: run(place, given.voices, given.rounds), arguments)


if __name__ == "__main__":
    main()
