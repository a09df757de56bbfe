"""System calls seen, stopped and answered in the operation's place: by strace's fault injection.

It is the real program on the real kernel: nothing in it is replaced, but that its threads run one
after the other, so that the N-th write is the same one every time. ``signal=KILL`` ends the whole
process when it enters the N-th call of a kind, before the kernel does anything; ``error=ENOSPC``
answers it. Both need strace, and ptrace to be permitted; where not, the tests skip and say so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from fault.processes import Act, Ended, start, wait

# Whatever changes a disk. strace takes names that this architecture lacks if they have a "?".
FILES = [
    *("open", "openat", "creat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir"),
    *("mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat", "chmod", "fchmodat"),
    *("fchmodat2", "truncate", "utimensat", "mknod", "mknodat"),
]
DESCRIPTORS = [
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "fsync", "fdatasync", "ftruncate"),
    *("fallocate", "fchmod", "copy_file_range", "sendfile", "sync_file_range", "ioctl"),
]
CHANGING = (*FILES, *DESCRIPTORS)
_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")


@dataclass(frozen=True, slots=True)
class Point:
    """The ``number``-th call of ``call``; ``text`` is what strace showed of it."""

    call: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.call} #{self.number}: {self.text[:150]}"


@cache
def why_not() -> str | None:
    """Why nothing can be traced here; None if all is well."""
    if shutil.which("strace") is None:
        return "needs strace (apt-get install strace)"
    with tempfile.TemporaryDirectory() as scratch:
        ended = run_traced(
            lambda: os.write(1, b"alive"), Path(scratch), inject="write:signal=KILL:when=1"
        )
    return None if ended.killed else f"ptrace is not permitted here: {ended.log[-200:]}"


def require_tracing() -> None:
    """Skip the test where tracing is not possible."""
    reason = why_not()
    if reason:
        pytest.skip(reason)


def run_traced(
    act: Act,
    home: Path,
    *,
    inject: str | None = None,
    calls: Sequence[str] = CHANGING,
    options: Sequence[str] = (),
    prepare: Act = lambda: None,
    timeout_s: float = 60.0,
) -> Ended:
    """Run ``act`` in a fork of this process under strace.

    Args:
        act: Returns the exit code.
        home: XTTSREG_HOME.
        inject: For ``strace -e inject=``.
        calls: What to log.
        options: More for strace.
        prepare: Run in the child before it, e.g. to lower a limit.
        timeout_s: Then it is killed, and the test fails.
    """
    with tempfile.TemporaryDirectory(prefix="fault-") as scratch:
        log, errors = Path(scratch) / "log", Path(scratch) / "stderr"
        ready, go = os.pipe()
        child = start(act, home, errors, prepare=prepare, gate=(ready, go))
        os.close(ready)
        wanted = ["-e", "trace=" + ",".join(f"?{call}" for call in calls)]
        if inject:
            wanted += ["-e", f"inject={inject}"]
        command = ["strace", "-f", "-qq", "-y", *options, "-o", str(log), *wanted, "-p", str(child)]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            complaint = _wait_attached(child, tracer)
            os.write(go, b"1")
            code = wait(child, timeout_s)
        finally:
            os.close(go)
            _, said = tracer.communicate(timeout=timeout_s)
        text = log.read_text("utf-8", "replace") if log.exists() else ""
        return Ended(code, errors.read_text("utf-8", "replace"), complaint + said + text)


def _wait_attached(child: int, tracer: subprocess.Popen[str]) -> str:
    status = Path(f"/proc/{child}/status")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and tracer.poll() is None:
        if "TracerPid:\t0\n" not in status.read_text("ascii"):
            return ""
        time.sleep(0.001)
    return "strace could not attach. "


def points_of(log: str, root: Path, *, reads: bool = False) -> list[Point]:
    """The calls in a log that change something below ``root``, each with its number.

    With ``reads``, also those that read a file there.
    """
    counts: Counter[str] = Counter()
    found = []
    for line in log.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        call, arguments = match[2], match[3]
        counts[call] += 1
        reading = reads and call == "read" and str(root) in arguments.partition(">")[0]
        if reading or (call in CHANGING and _changes(call, arguments, str(root))):
            found.append(Point(call, counts[call], arguments))
    return found


def alike(point: Point, points: Sequence[Point]) -> Point:
    """The one of ``points`` that does what ``point`` did, wherever it is now in the order."""

    def shape(one: Point) -> tuple[str, str]:
        # Names by chance are replaced; the text may end in the middle of one.
        return one.call, re.sub(r"[0-9a-f]{8,}|\d+", "N", one.text.partition(" = ")[0])

    near = sorted(points, key=lambda one: abs(one.number - point.number))
    return next((one for one in near if shape(one) == shape(point)), point)


def was_struck(log: str, root: Path) -> bool:
    """Whether an error was answered to a call on something below ``root``, and to no other."""
    struck = [line for line in log.splitlines() if "(INJECTED)" in line]
    return bool(struck) and str(root) in struck[0]


def _changes(call: str, arguments: str, root: str) -> bool:
    if root not in arguments or " = -1 E" in arguments:  # a try that failed changed nothing
        return False
    if call == "ioctl":
        return "FICLONE" in arguments
    if call in DESCRIPTORS:
        return arguments.partition("<")[2].startswith(root)
    return not call.startswith("open") or bool(_WRITES.search(arguments))
