"""An operation in a process of its own: a fork of this one, which spares it the imports."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import clean_environment

import xttsreg.cli
import xttsreg.ops

for _package in (xttsreg.cli, xttsreg.ops):  # what a fork has already, it need not import
    for _module in pkgutil.iter_modules(_package.__path__, f"{_package.__name__}."):
        importlib.import_module(_module.name)

Act = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit code (negative: a signal), what it said, what was traced."""

    code: int
    stderr: str
    log: str = ""

    @property
    def killed(self) -> bool:
        """Whether it died of SIGKILL."""
        return self.code == -9


class _Inline:
    """A pool that works at once, in the caller's thread."""

    def __init__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> _Inline:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def shutdown(self, **_: Any) -> None:
        """Nothing is left to stop."""

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Do it now."""
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future


def start(
    act: Act,
    home: Path,
    errors: Path,
    *,
    prepare: Act = lambda: None,
    gate: tuple[int, int] | None = None,
    threads: bool = False,
) -> int:
    """Start ``act``; return the process's number.

    Args:
        act: Returns the exit code.
        home: XTTSREG_HOME; the process works in the directory above it.
        errors: Where its standard error goes.
        prepare: Run in the child before it, e.g. to lower a limit.
        gate: A pipe; the child waits until something can be read from it.
        threads: Work in threads, as users have it. Otherwise one thing after the other, so that
            the N-th system call is the same one every time.
    """
    child = os.fork()
    if child:
        return child
    code: object = 70
    try:
        _settle(home, errors)
        if not threads:
            from xttsreg.ops import parallel

            parallel.ThreadPoolExecutor = _Inline  # type: ignore[assignment, misc]
        prepare()
        if gate:
            os.close(gate[1])
            os.read(gate[0], 1)
        code = act()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:
        sys.stderr.write(f"unexpected {type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(code if isinstance(code, int) else 0)


def _settle(home: Path, errors: Path) -> None:
    environment = clean_environment(home)
    os.environ.clear()
    os.environ.update(environment)
    null = os.open(os.devnull, os.O_RDWR)
    said = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, descriptor in enumerate((null, null, said)):
        os.dup2(descriptor, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    sys.dont_write_bytecode = True  # what is broken here must break nothing elsewhere
    os.chdir(home.parent)


def wait(child: int, timeout_s: float = 60.0) -> int:
    """Exit code of a process; it is killed, and the test fails, when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            raise AssertionError(f"still running after {timeout_s} s")
        time.sleep(0.002)


def run(act: Act, home: Path, **options: Any) -> Ended:
    """`start` and `wait`."""
    with tempfile.TemporaryDirectory(prefix="fault-") as scratch:
        errors = Path(scratch) / "stderr"
        code = wait(start(act, home, errors, **options))
        return Ended(code, errors.read_text("utf-8", "replace"))
