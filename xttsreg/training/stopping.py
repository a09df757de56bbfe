"""Ctrl-C between two steps, never inside one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Slurm sends the second one before it kills


class Stop:
    """While entered, a first Ctrl-C (or SIGTERM) waits for `check`, and a second one does not.

    A step that is cut in the middle leaves a model that is neither the old nor the new one: there
    would be nothing right to save.

    Args:
        tell: Called at the first one.
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self.is_urgent = False  # asked twice: there is no time to save
        self._asked = self._told = False
        self._process = os.getpid()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        """Take over, where Python permits that."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # e.g. under nohup
                    self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        """Give back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Stop here if that was asked for.

        Raises:
            KeyboardInterrupt: it was.
        """
        if self._asked:
            self._tell_once()
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a data loader's process: it ends when the run does
        if self._asked:
            self.is_urgent = True
            raise KeyboardInterrupt
        self._asked = True
        with contextlib.suppress(RuntimeError):
            # Python refuses to write to a stream in the middle of a write to it: tell in `check`.
            self._tell_once()

    def _tell_once(self) -> None:
        if not self._told:
            self._tell()
            self._told = True
