"""Ctrl-C once, and twice."""

from __future__ import annotations

import os
import signal

import pytest

from xttsreg.training.stopping import Stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_one_waits_and_the_second_one_is_urgent(number: signal.Signals) -> None:
    told: list[str] = []
    before = signal.getsignal(number)
    with Stop(lambda: told.append("stopping")) as stop:
        stop.check()
        os.kill(os.getpid(), number)
        assert told == ["stopping"]
        assert not stop.is_urgent
        with pytest.raises(KeyboardInterrupt):
            stop.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert stop.is_urgent
    assert told == ["stopping"]
    assert signal.getsignal(number) is before
