"""Every operation, on disks that refuse, that are full, and that can do less than others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import ROOT, clean_environment, mounted

from fault.checks import Expected, check_after, check_answer, check_done, expectation
from fault.conftest import Sample
from fault.operations import EACH, Operation, Shared
from fault.processes import Ended, run
from fault.tally import TALLY
from fault.tracing import (
    CHANGING,
    Point,
    alike,
    points_of,
    require_tracing,
    run_traced,
    was_struck,
)

_NAMES = ["openat", "mkdir", "rename", "link", "unlink", "rmdir", "unlinkat", "chmod"]
# What a disk may answer to which calls. ENOSPC and EDQUOT: a full disk, a quota; EROFS: after an
# error, ext4 makes itself read-only; EACCES: somebody changed the permissions.
ANSWERS = {
    "ENOSPC": ["openat", "mkdir", "rename", "link", "write", "ftruncate", "fsync"],
    "EDQUOT": ["openat", "mkdir", "write"],
    "EIO": ["write", "fsync", "read", *_NAMES],
    "EROFS": _NAMES,
    "EACCES": _NAMES,
}
# Once only: an error from then on would hit libraries that are read, and what is said about it.
_EVERYWHERE = ["openat", "read", "write"]


@EACH
def test_refused_at_every_call(
    operation: Operation, shared: Shared, scratch: Path, sample: Sample[tuple[Point, str, str]]
) -> None:
    """The disk answers with an error: once, or from then on."""
    require_tracing()
    expected = expectation(operation, shared, scratch / "disk")
    world, calls = expected.world, (*CHANGING, "read")

    def act(inject: str | None = None) -> Ended:
        world.reset(expected.template)
        return run_traced(
            lambda: operation.act(world, shared), world.home, calls=calls, inject=inject
        )

    def points() -> list[Point]:
        return points_of(act().log, world.root, reads=True)

    faults = [
        (point, error, times)
        for point in points()
        for error, answered in ANSWERS.items()
        if point.call in answered
        for times in (("", "+") if point.call not in _EVERYWHERE else ("",))
    ]
    chosen = sample(faults, 15)
    lost = []
    for point, error, times in chosen:
        ended = act(f"{point.call}:error={error}:when={point.number}{times}")
        if not was_struck(ended.log, world.root):  # the numbers have moved, see test_crash
            again = alike(point, points())
            ended = act(f"{again.call}:error={error}:when={again.number}{times}")
        found = [*check_answer(expected, ended), *check_after(expected, shared)]
        lost += [f"{error} at {point} {times}: {problem}" for problem in found]
    TALLY.add("error of the disk", operation.name, tried=len(chosen), lost=len(lost))
    assert not lost, "\n".join(lost)


@contextmanager
def _filesystem(scratch: Path, *make: str, size_kib: int) -> Iterator[Path]:
    """A small filesystem of its own, in a file."""
    if shutil.which(make[0]) is None:
        pytest.skip(f"needs {make[0]}")
    image = scratch / "image"
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(size_kib * 1024)
    subprocess.run([*make, str(image)], check=True, capture_output=True)
    with mounted(scratch / "mounted", "-o", "loop", str(image)) as where:
        yield where
    image.unlink()


def _fill(where: Path, left_kib: int) -> Path:
    """Take all room but so much."""
    filler = where / "filler"
    room = shutil.disk_usage(where).free
    with filler.open("wb", buffering=0) as file:
        # Ends early where the map of its blocks needs some.
        file.write(b"x" * max(0, room - left_kib * 1024))
    return filler


def _on_a_full_one(expected: Expected, shared: Shared, where: Path, left_kib: int) -> list[str]:
    expected.world.reset(expected.template)
    filler = _fill(where, left_kib)
    operation = expected.operation
    ended = run(lambda: operation.act(expected.world, shared), expected.world.home)
    filler.unlink()
    found = [*check_answer(expected, ended), *check_after(expected, shared)]
    return [f"{left_kib} KiB free: {problem}" for problem in found]


FILESYSTEMS = {
    "ext4": (("mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0"), 3000),
    "FAT32": (("mkfs.vfat", "-F", "32", "-s", "1"), 40_000),
}


@pytest.mark.parametrize("kind", FILESYSTEMS)
@EACH
def test_a_disk_that_is_really_full(
    kind: str, operation: Operation, shared: Shared, scratch: Path, sample: Sample[int]
) -> None:
    """Nothing injected: a small filesystem with no room, or with room for a part of it."""
    make, size_kib = FILESYSTEMS[kind]
    lefts = sample([*range(0, 64, 4), *range(64, 700, 24)], 3)
    lost = []
    with _filesystem(scratch, *make, size_kib=size_kib) as where:
        expected = expectation(operation, shared, where)
        for left_kib in lefts:
            lost += _on_a_full_one(expected, shared, where, left_kib)
    TALLY.add(f"full {kind}", operation.name, tried=len(lefts), lost=len(lost))
    assert not lost, "\n".join(lost)


@EACH
def test_no_more_inodes(operation: Operation, shared: Shared, scratch: Path) -> None:
    """Room for bytes, but not for names."""
    lost, tried = [], 0
    with _filesystem(
        scratch, "mkfs.ext4", "-q", "-N", "160", "-m", "0", size_kib=4000
    ) as where:  # fmt: skip
        expected = expectation(operation, shared, where)
        for left in (0, 1, 5):
            expected.world.reset(expected.template)
            fillers = where / "fillers"
            fillers.mkdir()
            for number in range(os.statvfs(where).f_favail - left):
                (fillers / str(number)).touch()
            ended = run(lambda: operation.act(expected.world, shared), expected.world.home)
            shutil.rmtree(fillers)
            found = [*check_answer(expected, ended), *check_after(expected, shared)]
            lost += [f"{left} inodes left: {problem}" for problem in found]
            tried += 1
    TALLY.add("no inodes", operation.name, tried=tried, lost=len(lost))
    assert not lost, "\n".join(lost)


@EACH
def test_memory_disk_with_a_limit(operation: Operation, shared: Shared, scratch: Path) -> None:
    """A tmpfs, as containers have it; it gives up in the middle of a write."""
    lost = []
    with mounted(scratch / "memory", "-t", "tmpfs", "-o", "size=2200k", "tmpfs") as where:
        expected = expectation(operation, shared, where)
        for left_kib in (0, 8, 120):
            lost += _on_a_full_one(expected, shared, where, left_kib)
    TALLY.add("full tmpfs", operation.name, tried=3, lost=len(lost))
    assert not lost, "\n".join(lost)


_SHORT = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>
ssize_t write(int fd, const void *data, size_t size) {
  static ssize_t (*real)(int, const void *, size_t);
  struct stat status;
  if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  if (size > 1 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) size = (size + 2) / 3;
  return real(fd, data, size);
}
"""


_AGAIN = """
import sys
from pathlib import Path
from fault.operations import OPERATIONS, Shared
from fault.world import World
name, world, *shared = sys.argv[1:]
act = next(operation.act for operation in OPERATIONS if operation.name == name)
sys.exit(act(World(Path(world)), Shared(*map(Path, shared[:3]), *shared[3:])))
"""


@EACH
def test_short_writes(operation: Operation, shared: Shared, scratch: Path) -> None:
    """The kernel takes a third of what it is given, each time, as it may."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, to make a library whose write() is short")
    source, library = scratch / "short.c", scratch / "short.so"
    source.write_text(_SHORT)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    expected = expectation(operation, shared, scratch / "short")
    world = expected.world
    world.reset(expected.template)
    places = [world.root, shared.weights, shared.other, shared.catalog, shared.registry]
    ended = subprocess.run(
        [sys.executable, "-c", _AGAIN, operation.name, *map(str, places)],
        env=clean_environment(
            world.home,
            LD_PRELOAD=str(library),
            PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}",
            PYTHONDONTWRITEBYTECODE="1",  # Python's own writer does not look at what was taken
        ),
        cwd=world.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lost = [ended.stderr] if ended.returncode else []
    lost += [*check_done(expected), *check_after(expected, shared)]
    TALLY.add("short writes", operation.name, tried=1, lost=len(lost))
    assert not lost, "\n".join(lost)


def test_the_library_does_make_writes_short(scratch: Path) -> None:
    """Or the test above would show nothing."""
    library = scratch / "short.so"
    if not library.exists():
        pytest.skip("no library was made")
    code = "import os; print(os.write(os.open('{}', os.O_CREAT | os.O_WRONLY), b'x' * 9))"
    done = subprocess.run(
        [sys.executable, "-c", code.format(scratch / "nine")],
        env={**os.environ, "LD_PRELOAD": str(library)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "3\n"


@EACH
def test_no_hard_links(operation: Operation, shared: Shared, scratch: Path) -> None:
    """FAT, exFAT and some network filesystems: every link is refused, and nothing needs one."""
    require_tracing()
    expected = expectation(operation, shared, scratch / "links")
    expected.world.reset(expected.template)
    ended = run_traced(
        lambda: operation.act(expected.world, shared), expected.world.home,
        inject="?link,?linkat:error=EPERM",
    )  # fmt: skip
    lost = [ended.stderr] if ended.code else []
    lost += [*check_done(expected), *check_after(expected, shared)]
    TALLY.add("no hard links", operation.name, tried=1, lost=len(lost))
    assert not lost, "\n".join(lost)


@EACH
@pytest.mark.parametrize("years", [-30, 30])
def test_a_clock_that_was_wrong(
    years: int, operation: Operation, shared: Shared, scratch: Path
) -> None:
    """What is there is from long ago, or from the future: as if the clock had jumped."""
    expected = expectation(operation, shared, scratch / "clock")
    world = expected.world
    world.reset(expected.template)
    then = time.time() + years * 365.25 * 86400
    for path in world.root.rglob("*"):
        os.utime(path, (then, then), follow_symlinks=False)
    ended = run(lambda: operation.act(world, shared), world.home)
    lost = [ended.stderr] if ended.code else []
    lost += [*check_done(expected), *check_after(expected, shared)]
    TALLY.add("wrong clock", operation.name, tried=1, lost=len(lost))
    assert not lost, "\n".join(lost)
