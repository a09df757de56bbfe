"""How an operation tells how far it is. The command line draws bars from it; others ignore it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from xttsreg.content.stream import Advance, no_advance


class Progress(Protocol):
    """Something that watches. Safe to call from several threads."""

    def task(self, label: str, total_bytes: int) -> AbstractContextManager[Advance]:
        """A piece of work; the context yields the function that takes bytes done."""

    def note(self, line: str) -> None:
        """Something a person may want to know, one line."""


class Quiet:
    """Nobody watches."""

    @contextlib.contextmanager
    def task(self, label: str, total_bytes: int) -> Iterator[Advance]:
        """See `Progress.task`."""
        yield no_advance

    def note(self, line: str) -> None:
        """See `Progress.note`."""


QUIET = Quiet()
