"""How the processes below ``exec`` tell it what they refused.

A program may catch an exception, turn it into another one, or die with exit code 1; trainer does
all three. So a refusal is written down where it happens, and the command reads it at the end.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from xttsreg.errors import XttsregError
from xttsreg.training.explain import chain, first_line, out_of_memory
from xttsreg.training.shim.plan import Plan

REFUSED = "refused"  # we stopped a training: counts even if the program says that all went well
FATAL = "fatal"  # the program has ended over it
SEEN = "seen"  # the program may have gone on without


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One refusal."""

    kind: str
    message: str
    hint: str | None
    exit_code: int


def leave(plan: Plan, kind: str, error: XttsregError) -> None:
    """Write a refusal down. Never raises: the error itself matters more."""
    content = {
        "kind": kind,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    try:
        path = plan.notes / f"{time.time_ns():020d}-{os.getpid()}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
    except OSError as problem:
        tell(f"xttsreg: {error.message} (not recorded: {problem})")


def read(plan: Plan) -> list[Note]:
    """Return what was left, in the order of time."""
    paths = sorted(plan.notes.glob("*.json"))
    return [Note(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]


def tell(line: str) -> None:
    """One line for people. The program's standard output is its own."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def cause(error: BaseException | None) -> XttsregError | None:
    """Find our refusal behind what a program made of it."""
    return next((one for one in chain(error) if isinstance(one, XttsregError)), None)


def memory(error: BaseException) -> XttsregError | None:
    """Say in our words that memory ran out, if it did."""
    if not out_of_memory(error):
        return None
    return XttsregError(
        f"memory ran out: {first_line(error)}",
        hint="halve batch_size and double grad_accum_steps in the recipe, which learns the same; "
        "fewer loader workers help the machine's own memory",
    )


@contextmanager
def refusing(plan: Plan) -> Iterator[None]:
    """Note every refusal that leaves this block: no training may go on after it."""
    try:
        yield
    except XttsregError as error:
        leave(plan, REFUSED, error)
        raise


def watch_exit(plan: Plan) -> None:
    """Note the refusal that ends this process; the command then says it in two lines."""
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        found = cause(error) or memory(error)
        if found is not None:
            leave(plan, FATAL, found)
        if found is not error or plan.debug:
            previous(kind, error, trace)

    sys.excepthook = hook
