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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xttsreg.errors import InvalidModel, XttsregError
from xttsreg.training.run import DATASET_NAME, VIEW_NAME
from xttsreg.training.runs import METRICS_NAME, RECORD_NAME, read_record
from xttsreg.training.slurm.pulling import node_store

_STOPPED = (130, 128 + signal.SIGTERM)  # after saving; before there was anything to save


@dataclass(slots=True)
class Job:
    """A training run, as submitit carries it to the node.

    Attributes:
        arguments: Of ``xttsreg``.
        output: The run's folder.
        fresh: More arguments for a run that has not begun; it knows them afterwards.
        pull: Arguments that bring the model to the node first; empty if it is on a shared disk.
        is_resumed: The user goes on with a run.
        idle: How often in a row the job was stopped before it had done a step.
    """

    arguments: tuple[str, ...]
    output: Path
    fresh: tuple[str, ...] = ()
    pull: tuple[str, ...] = ()
    is_resumed: bool = False
    idle: int = 0
    _child: int = 0
    _began_at: int = 0
    _was_told: bool = False

    def __call__(self) -> int:
        """Train, and end with the exit code of `xttsreg train`: Slurm shows it as the job's."""
        again = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        if again and not self.is_resumed and _is_registered(self.output):
            _say("the voice is registered: nothing is left to do")
            return 0
        signal.signal(signal.SIGTERM, self._on_term)
        self._began_at = _progress(self.output)
        code, source = self._pull()
        code = code or self._run([*self.arguments, *source, *self._resumption()])
        if code:
            raise SystemExit(code)
        return 0

    def _pull(self) -> tuple[int, list[str]]:
        if not self.pull:
            return 0, []
        try:
            store = str(node_store())
        except XttsregError as error:
            _say(f"{error.message}: {error.hint}")
            return error.exit_code, []
        # Data is what the training says.
        return self._run([*self.pull, "--store", store], sys.stderr), ["--from", store]

    def _resumption(self) -> list[str]:
        if self.is_resumed:
            return []  # which the arguments say
        if (self.output / RECORD_NAME).is_file():
            return ["--resume", str(self.output)]
        _clear(self.output)
        return [*self.fresh]

    def _run(self, arguments: list[str], output: Any = None) -> int:
        if self._was_told:
            return 128 + signal.SIGTERM
        process = subprocess.Popen([sys.executable, "-m", "xttsreg", *arguments], stdout=output)
        self._child = process.pid
        code = self._end()
        self._child = 0
        return code

    def checkpoint(self) -> Any:
        """Have the run saved; submitit calls this on Slurm's signal, then requeues the job.

        Returns:
            What the job is next time; None to end it, if it gets nowhere.
        """
        from submitit.core.utils import DelayedSubmission

        _say("the time is nearly up")
        if self._child:
            os.kill(self._child, signal.SIGTERM)
            code = self._end()
            if code not in _STOPPED:  # it was at its end anyway
                raise SystemExit(code)
        idle = 0 if _progress(self.output) > self._began_at else self.idle + 1
        if idle > 1:
            _say("not in the queue again: there was no time for a single step, twice in a row")
            raise SystemExit(1)
        _say("the job goes into the queue again")
        return DelayedSubmission(replace(self, idle=idle, _child=0, _was_told=False))

    def _end(self) -> int:
        """Wait for the child, which stays a zombie: a signal's handler may wait for it as well."""
        end = os.waitid(os.P_PID, self._child, os.WEXITED | os.WNOWAIT)
        assert end is not None
        return end.si_status if end.si_code == os.CLD_EXITED else 128 + end.si_status

    def _on_term(self, number: int, frame: object) -> None:
        self._was_told = True


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
