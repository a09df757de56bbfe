"""Bytes that once broke something are read again; and a short look for more."""

from __future__ import annotations

import importlib.util
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from fuzz.table import TARGETS, replay

CRASHES = Path(__file__).parent / "crashes"
OLD = sorted(path for path in CRASHES.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", TARGETS)
def test_reads_what_it_begins_with(name: str) -> None:
    for seed in TARGETS[name].seeds():
        replay(TARGETS[name], seed)
        for cut in range(0, len(seed), max(1, len(seed) // 20)):
            replay(TARGETS[name], seed[:cut])


@pytest.mark.parametrize("path", OLD, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_once_broke(path: Path) -> None:
    replay(TARGETS[path.parent.name], path.read_bytes())


needs_atheris = pytest.mark.skipif(
    not importlib.util.find_spec("atheris"), reason="no atheris for this Python"
)


def fuzz(name: str, scratch: Path, *options: str) -> None:
    # The peak that libFuzzer asks for begins with that of the process which started it.
    own_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", name, "-timeout=30", f"-rss_limit_mb={own_mb + 2048}",
         f"-artifact_prefix={scratch}/", *options],
        cwd=ROOT / "tests", env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    found = [path.read_bytes() for path in scratch.iterdir()]
    how = f"keep these bytes in {CRASHES / name}: {found}\n{done.stderr[-3000:]}"
    assert (done.returncode, found) == (0, []), how
    assert "Is the code instrumented" not in done.stderr


@needs_atheris
def test_looks_for_more(tmp_path: Path) -> None:
    """All readers in one process, from the same seed each time: this must not fail by chance."""
    fuzz("everything", tmp_path, "-max_total_time=15", "-runs=20000", "-seed=1")


@needs_atheris
@pytest.mark.parametrize("name", TARGETS)
def test_looks_for_long(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    seconds = request.config.getoption("--fuzz-seconds")
    if not int(seconds):
        pytest.skip("asked for by --fuzz-seconds, as `make fuzz` does")
    fuzz(name, tmp_path, f"-max_total_time={seconds}")
