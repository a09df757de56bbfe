"""Several pieces of work at once, that stop together: at the first error, and at Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from xttsreg.content.cores import cores
from xttsreg.content.stream import Advance
from xttsreg.errors import XttsregError

T = TypeVar("T")
R = TypeVar("R")


class Cancelled(XttsregError):
    """Raised in the other threads once one has failed; never seen by users."""


class Cancel:
    """A flag that work looks at whenever it reports bytes, or waits."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask all work to stop."""
        self._event.set()

    def sleep(self, seconds: float) -> None:
        """Wait, but not once the flag is set.

        Raises:
            Cancelled: it is.
        """
        if self._event.wait(seconds):
            raise Cancelled("stopped")

    def watch(self, advance: Advance) -> Advance:
        """The same progress function, which raises `Cancelled` once the flag is set."""

        def watched(size_bytes: int) -> None:
            if self._event.is_set():
                raise Cancelled("stopped")
            advance(size_bytes)

        return watched


def in_parallel(
    work: Callable[[T, Cancel], R], items: Iterable[T], *, threads: int | None = None
) -> list[R]:
    """Run ``work`` on every item.

    Args:
        work: Gets the item and the flag that it should look at.
        items: In the order of the results.
        threads: At once; None for one a core, since hashing releases the GIL.

    Returns:
        The results.

    Raises:
        BaseException: what the first failing item raised, or KeyboardInterrupt; the rest has
            stopped by then.
    """
    cancel = Cancel()
    futures: list[Future[R]] = []
    with ThreadPoolExecutor(threads or min(8, cores())) as pool:
        try:  # Ctrl-C may come as soon as the first thread works
            futures.extend(pool.submit(work, item, cancel) for item in items)
            return [future.result() for future in futures]
        except BaseException as error:
            cancel.set()
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, Cancelled):
                raise _cause([f.exception() for f in futures if not f.cancelled()]) from None
            raise


def _cause(errors: list[BaseException | None]) -> BaseException:
    """The error that made the others stop."""
    found = [error for error in errors if error and not isinstance(error, Cancelled)]
    return found[0] if found else KeyboardInterrupt()
