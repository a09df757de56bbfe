"""Work at once stops together, whenever the interruption comes."""

import threading
from collections.abc import Iterator

import pytest

from xttsreg.ops.parallel import Cancel, Cancelled, in_parallel


def test_ctrl_c_while_work_is_still_being_handed_out_stops_what_has_begun() -> None:
    begun = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert begun.wait(10)
        raise KeyboardInterrupt

    def work(_: int, cancel: Cancel) -> None:
        begun.set()
        with pytest.raises(Cancelled):
            cancel.sleep(60)
        stopped.append(True)

    stopped: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        in_parallel(work, items())
    assert stopped
