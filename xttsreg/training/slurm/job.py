"""What runs on the compute node: `xttsreg train` as a child, and what becomes of Slurm's signals.

The job has no state of its own but the run's folder. Slurm starts the same batch script again after
a requeue (preemption, a node that failed, ``scontrol requeue``), so `Job` looks whether the run has
begun, and then goes on with it. Before the time limit Slurm sends a signal, upon which submitit
calls `checkpoint`, and puts the job into the queue again.

Slurm sends its SIGTERM to every process of the job, so the child gets it by itself, and once: a
second one would have it stop unsaved.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xttsreg.errors import InvalidModel
from xttsreg.training.run import DATASET_NAME, VIEW_NAME
from xttsreg.training.runs import METRICS_NAME, RECORD_NAME, read_record
from xttsreg.training.slurm.queue import show

_STOPPED = (130, 128 + signal.SIGTERM)  # after saving; before there was anything to save


@dataclass(slots=True)
class Job:
    """A training run, as submitit carries it to the node.

    Attributes:
        arguments: Of ``xttsreg``: everything but ``--resume`` for a run that has begun.
        output: The run's folder.
        is_resumed: The user goes on with a run.
        idle: How often in a row the job was stopped before it had done a step.
    """

    arguments: tuple[str, ...]
    output: Path
    is_resumed: bool = False
    idle: int = 0
    _child: Any = field(default=None, repr=False)
    _began_at: int = 0
    _was_told: bool = False

    def __call__(self) -> int:
        """Train, and end with the exit code of `xttsreg train`: Slurm shows it as the job's."""
        again = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        if again and not self.is_resumed and _is_registered(self.output):
            _say("the voice is registered: nothing is left to do")
            return 0
        arguments = list(self.arguments)
        if not self.is_resumed:
            if (self.output / RECORD_NAME).is_file():
                arguments += ["--resume", str(self.output)]
            else:
                _clear(self.output)
        signal.signal(signal.SIGTERM, self._on_term)
        self._began_at = _progress(self.output)
        self._child = subprocess.Popen([sys.executable, "-m", "xttsreg", *arguments])
        code = self._end()
        if code in _STOPPED and self._was_told:
            _requeue_if_preempted()
        if code:
            raise SystemExit(code)
        return 0

    def checkpoint(self) -> Any:
        """Have the run saved; submitit calls this on Slurm's signal, then requeues the job.

        Returns:
            What the job is next time; None to end it, if it gets nowhere.
        """
        from submitit.core.utils import DelayedSubmission

        _say("the time is nearly up: saving")
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.pid, signal.SIGTERM)
            code = self._end()
            if code not in _STOPPED:  # it was at its end anyway
                raise SystemExit(code)
        idle = 0 if _progress(self.output) > self._began_at else self.idle + 1
        if idle > 1:
            _say("not in the queue again: there was no time for a single step, twice in a row")
            raise SystemExit(1)
        _say("saved; the job goes into the queue again")
        return DelayedSubmission(replace(self, idle=idle, _child=None, _was_told=False))

    def _end(self) -> int:
        """Wait for the child, from a signal's handler as well: `Popen.wait` would block there."""
        if self._child.returncode is None:
            os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
        code = int(self._child.wait())
        return code if code >= 0 else 128 - code

    def _on_term(self, number: int, frame: object) -> None:
        self._was_told = True


def _requeue_if_preempted() -> None:
    """Ask for another go if Slurm wants the node for another job.

    With a grace time Slurm waits for the job to end, and would take that for its end for good.
    """
    job_id = os.environ["SLURM_JOB_ID"]
    state = show(job_id)
    if state.get("JobState") == "RUNNING" and state.get("PreemptTime", "None") != "None":
        _say("preempted: the job goes into the queue again")
        subprocess.run(["scontrol", "requeue", job_id], check=False)


def _is_registered(output: Path) -> bool:
    with contextlib.suppress(InvalidModel):
        record = read_record(output)
        return bool(record.get("registered")) and record.get("state") == "finished"
    return False


def _progress(output: Path) -> int:
    """Grows with every step."""
    path = output / METRICS_NAME
    return path.stat().st_size if path.is_file() else 0


def _clear(output: Path) -> None:
    """Remove the views of an attempt that was killed before the run had begun."""
    for name in (VIEW_NAME, DATASET_NAME):
        shutil.rmtree(output / name, ignore_errors=True)


def _say(line: str) -> None:
    sys.stderr.write(f"slurm: {line}\n")
    sys.stderr.flush()
