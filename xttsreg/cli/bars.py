"""Progress bars on a terminal: rate and time left, one line a file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from xttsreg.content.stream import Advance
from xttsreg.ops.progress import Progress, Quiet

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_WORTH_A_BAR_BYTES = 8 * 1024 * 1024  # less is done before the eye sees it


class Notes(Quiet):
    """No bars, but notes go to stderr: for logs."""

    def note(self, line: str) -> None:
        """One line on stderr."""
        click.echo(line, err=True)


class Bars(Notes):
    """Bars on stderr, for as long as something runs."""

    def __init__(self, rich: RichProgress) -> None:
        self._rich = rich
        self._running = 0

    @contextlib.contextmanager
    def task(self, label: str, total_bytes: int) -> Iterator[Advance]:
        """See `Progress.task`."""
        if total_bytes < _WORTH_A_BAR_BYTES:
            yield lambda size_bytes: None
            return
        self._running += 1
        self._rich.start()
        task = self._rich.add_task(label, total=total_bytes)
        try:
            yield lambda size_bytes: self._rich.advance(task, size_bytes)
        finally:
            self._running -= 1
            if self._running == 0:
                self._rich.stop()

    def note(self, line: str) -> None:
        """One line above the bars."""
        self._rich.console.print(line, highlight=False, markup=False)


def progress(*, quiet: bool) -> Progress:
    """What fits here: bars on a terminal, lines in a log, nothing with ``--quiet``."""
    if quiet:
        return Quiet()
    if not sys.stderr.isatty():
        return Notes()
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Bars(RichProgress(*columns, console=Console(stderr=True), transient=True))
