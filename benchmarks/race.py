"""Several ways to do one thing, in turns: A B C A B C, so that a slower minute meets them all."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

XTTSREG = [sys.executable, "-m", "xttsreg"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One way.

    Attributes:
        name: For the table.
        command: What is timed.
        cwd: Where; None: here.
        env: More variables.
        before: Makes everything ready, and is not timed.
        after: Cleans up, and is not timed.
        note: What it does less than ours, or more.
        rounds: At most so many.
    """

    name: str
    command: Sequence[object]
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    note: str = ""
    rounds: int = 100


@dataclass(slots=True)
class Times:
    """What was measured of one lane: seconds of each round, and the most memory of any.

    Processor time counts all cores together; other work on the machine disturbs it less.
    """

    note: str = ""
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    @property
    def median(self) -> float:
        """Of the rounds, in seconds."""
        return statistics.median(self.seconds)

    @property
    def cpu_median(self) -> float:
        """Of the rounds, in seconds of processor time."""
        return statistics.median(self.cpu_seconds)


def race(lanes: Iterable[Lane], rounds: int) -> dict[str, Times]:
    """Run all lanes in turns, for several rounds."""
    lanes = list(lanes)
    found = {lane.name: Times(lane.note) for lane in lanes}
    for turn in range(rounds):
        for lane in lanes:
            if turn >= lane.rounds:
                continue
            lane.before()
            one = timed(lane.command, lane.cwd, lane.env)
            lane.after()
            times = found[lane.name]
            times.seconds.append(one.seconds)
            times.cpu_seconds.append(one.cpu_seconds)
            times.peak_bytes = max(times.peak_bytes, one.peak_bytes)
    return found


@dataclass(frozen=True, slots=True)
class Timed:
    """What one command took, with its children."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def timed(
    command: Sequence[object], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Timed:
    """Run a command.

    Raises:
        RuntimeError: it failed; says what it said.
    """
    began = time.perf_counter()
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env={**plain_environment(), **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as child:
        said = child.stderr.read() if child.stderr else b""
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{command[0]} ended with {child.returncode}: {said.decode()[-2000:]}")
    return Timed(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def own_mb() -> float:
    """Peak of this process so far: what it starts is counted with that until it is itself."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def plain_environment() -> dict[str, str]:
    """This environment without what slows Python's start: users have compiled modules."""
    slow = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
    return {name: value for name, value in os.environ.items() if name not in slow}


def quietly(command: Sequence[object], cwd: Path | None = None) -> None:
    """Run what is not timed.

    Raises:
        RuntimeError: it failed; says what it said.
    """
    timed(command, cwd)


def gone(place: Path) -> Path:
    """A place where nothing is, any more."""
    if place.is_file():
        place.unlink()
    elif place.exists():
        for path in [place, *place.rglob("*")]:  # git-annex takes the directories' w away
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(place)
    return place


def evict(directory: Path) -> None:
    """Make the system forget what is in these files, so that the next read is of the disk."""
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def table(title: str, found: Mapping[str, Times], base: str) -> list[str]:
    """Lines with seconds, ratio to one lane, processor time and peak memory."""
    lines = [f"{title:36}{'s':>8}{'ratio':>7}{'CPU s':>8}{'peak MB':>9}"]
    for name, times in found.items():
        ratio = times.median / found[base].median
        note = f"  {times.note}" if times.note else ""
        peak_mb = times.peak_bytes / 1e6
        cpu = times.cpu_median
        lines.append(f"{name:36}{times.median:8.2f}{ratio:7.2f}{cpu:8.2f}{peak_mb:9.0f}{note}")
    return lines
