"""Keeps what TTS and trainer do to a process (output, warnings, argv, limits) inside a run."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Send the standard output and the warnings of everything inside to a file.

    Standard output is for data, and TTS prints to it freely. Standard error stays as it is, so
    that a progress display goes on working; trainer's copy of its log there is switched off.

    Args:
        log: Text file, appended to.
    """
    import trainer.logger  # noqa: F401  adds its handler for standard error while it is imported

    with log.open("a", encoding="utf-8", buffering=1) as stream, warnings.catch_warnings():
        warnings.showwarning = _to_stream(stream)
        # Trainer adds a handler of its own for the very same file; a second one would double it.
        with (
            _logged("trainer", logging.NullHandler()),
            _logged("TTS", logging.StreamHandler(stream)),  # coqui-tts logs what 0.22.0 prints
            redirect_stdout(stream),
        ):
            yield


@contextmanager
def _logged(name: str, handler: logging.Handler) -> Iterator[None]:
    """Send a logger's messages to one handler alone."""
    logger = logging.getLogger(name)
    handlers, propagates = list(logger.handlers), logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for handler in logger.handlers:  # trainer adds one for each run and never closes it
            handler.close()
        logger.handlers, logger.propagate = handlers, propagates


@contextmanager
def run_folder(directory: Path) -> Iterator[None]:
    """Make ``trainer.Trainer`` use exactly this folder, and leave the process as it was.

    By itself it makes up a name from the minute and git's commit, so that two runs started in the
    same minute share a folder; it copies the program in ``sys.argv[0]`` into it; and it lowers the
    limit of open files for good.

    Args:
        directory: The folder of the run.
    """
    import trainer.trainer as module

    original, argv = module.get_experiment_folder_path, sys.argv
    limits = _open_files()
    module.get_experiment_folder_path = lambda *_: directory
    sys.argv = [""]
    try:
        yield
    finally:
        module.get_experiment_folder_path, sys.argv = original, argv
        _set_open_files(limits)


def _to_stream(stream: TextIO) -> Callable[..., None]:
    def show(message: Any, category: Any, filename: Any, lineno: Any, *_: Any) -> None:
        stream.write(warnings.formatwarning(message, category, filename, lineno))

    return show


def _open_files() -> tuple[int, int] | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def _set_open_files(limits: tuple[int, int] | None) -> None:
    if limits is not None:
        import resource

        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
