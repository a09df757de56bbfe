"""Watches a job from where it was submitted: its logs, its state, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xttsreg.errors import RemoteError, Transient
from xttsreg.training.slurm.queue import State, state_of

_LOG_S = 0.5
_STATE_S = (1.0, 10.0)  # Slurm is asked ever less often: many may be asking
_PATIENCE_S = 600.0  # a controller that is restarted comes back


@dataclass(slots=True)
class _Tail:
    """A growing file: opened anew each time, since that is when NFS looks for what is new."""

    path: Path
    write: Callable[[bytes], None]
    offset: int = 0

    def read(self) -> bool:
        """Hand on what has come; whether there was something."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except OSError:  # not there yet, or the filesystem is away for a moment
            return False
        self.offset += len(data)
        if data:
            self.write(data)
        return bool(data)


def follow(
    job_id: str,
    *,
    data: tuple[Path, Callable[[bytes], None]],
    log: tuple[Path, Callable[[bytes], None]],
    on_state: Callable[[State], None],
) -> State:
    """Hand on what a job writes, until it has ended for good; a requeue is no end.

    Args:
        job_id: Slurm's number.
        data: The file of its standard output, and what takes it.
        log: The same for standard error.
        on_state: Told each new state.

    Returns:
        How it ended.

    Raises:
        NotFoundError: Slurm has forgotten the job.
        RemoteError: Slurm has not answered for ten minutes.
    """
    tails = log_tail, data_tail = _Tail(*log), _Tail(*data)
    known: State | None = None
    pause_s, answered = _STATE_S[0], time.monotonic()
    ask_at = 0.0
    while True:
        log_tail.read()
        if data_tail.read():  # the result: the end is near
            ask_at, pause_s = 0.0, _STATE_S[0]
        if time.monotonic() >= ask_at:
            try:
                state: State | None = state_of(job_id)
                answered = time.monotonic()
            except Transient as error:
                if time.monotonic() - answered > _PATIENCE_S:
                    raise RemoteError(
                        f"job {job_id}: {error.message}", op="scontrol",
                        hint="the job may well go on; `squeue` shows it when Slurm answers again",
                    ) from error  # fmt: skip
                state = known
            if state is not None and state != known:
                on_state(state)
                pause_s = _STATE_S[0]
            known = state
            if known is not None and known.is_over:
                _drain(tails)
                return known
            ask_at = time.monotonic() + pause_s
            pause_s = min(_STATE_S[1], pause_s * 1.2)
        time.sleep(_LOG_S)


def _drain(tails: tuple[_Tail, ...]) -> None:
    """What was written last may come a moment later."""
    while True:
        time.sleep(_LOG_S)
        if not any([tail.read() for tail in tails]):
            return
