"""Which failures are tried again, how often, and after how long."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from xttsreg.content.stream import Advance
from xttsreg.errors import RemoteError, Transient

T = TypeVar("T")
Sleep = Callable[[float], None]

ATTEMPTS = 5
"""Tries in a row without progress before something is given up."""

_BACKOFF_MAX_S = 30.0
_RETRY_AFTER_MAX_S = 300.0
_LOOK_S = 0.5
"""How often a wait is left to see whether the copy has been stopped meanwhile."""


def pause_s(error: RemoteError, failed: int) -> float:
    """How long to wait: what the server asks for, else 1, 2, 4... seconds with jitter.

    Args:
        error: The last failure.
        failed: How many there were in a row, from 1 on.
    """
    if isinstance(error, Transient) and error.retry_after_s is not None:
        return min(error.retry_after_s, _RETRY_AFTER_MAX_S)
    return min(_BACKOFF_MAX_S, 2.0 ** (failed - 1)) * random.uniform(0.5, 1.0)


def watched(sleep: Sleep, advance: Advance) -> Sleep:
    """A wait that reports no bytes, but often: so whoever watches may end it, as with a copy."""

    def wait(seconds: float) -> None:
        while seconds > 0:
            advance(0)
            sleep(min(seconds, _LOOK_S))
            seconds -= _LOOK_S

    return wait


def with_retries(work: Callable[[], T], *, attempts: int, sleep: Sleep) -> T:
    """Do something that may be repeated, until it does not fail in passing.

    Raises:
        Transient: it failed so each time.
    """
    failed = 0
    while True:
        try:
            return work()
        except Transient as error:
            failed += 1
            if failed >= attempts:
                raise
            sleep(pause_s(error, failed))
