"""Puts a training run into Slurm's queue, through submitit."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xttsreg import places
from xttsreg.errors import InvalidInputError, MissingDependency, RemoteError
from xttsreg.training.slurm.job import Job
from xttsreg.training.slurm.queue import show

_PROGRAMS = ("sbatch", "scontrol", "srun")
_FOR_EVER = 1_000_000  # requeues: `Job.checkpoint` ends a job that gets nowhere
_UNREACHABLE = ("Unable to contact", "timed out", "Zero Bytes", "Connection refused")


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job in the queue.

    Attributes:
        job_id: Slurm's number for it.
        output: The run's folder.
        data: What `xttsreg train` over there writes to its standard output.
        log: The same for standard error: what is there for people.
    """

    job_id: str
    output: Path
    data: Path
    log: Path

    def as_dict(self) -> dict[str, Any]:
        """Return the job as JSON types."""
        return {
            "job": self.job_id,
            "run": str(self.output),
            "stdout": str(self.data),
            "stderr": str(self.log),
        }


def require_slurm() -> None:
    """Make sure that a job can be submitted from here.

    Raises:
        MissingDependency: Slurm's programs or submitit are not there.
    """
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        raise MissingDependency(
            f"--slurm needs {', '.join(missing)}, not to be found here",
            extra="slurm",
            hint="submit from a login node of the cluster (Debian: slurm-client), or train here "
            "without --slurm",
        )
    try:
        import submitit  # noqa: F401 - only whether it is there
    except ImportError:
        raise MissingDependency("--slurm needs submitit", extra="slurm") from None


def submit(job: Job, keys: Mapping[str, Any]) -> Submitted:
    """Submit a run. The batch script and the logs go below the home, which the nodes must share.

    Args:
        job: The run.
        keys: As `keys.parse` returns them.

    Raises:
        InvalidInputError: Slurm does not take it.
        RemoteError: Slurm does not answer.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    home = places.home().absolute() / "slurm"
    home.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_name(job)}-", dir=home))
    # No srun: the training is one process here. `exec` makes it the batch shell, which alone gets
    # the signal: data loaders would die of it.
    python = f"exec {shlex.quote(sys.executable)}"
    executor = submitit.SlurmExecutor(folder, max_num_timeout=_FOR_EVER, python=python)
    try:
        executor.update_parameters(**_parameters(job, keys))
        with contextlib.redirect_stderr(io.StringIO()):  # submitit says there what it raises
            found = executor.submit(job)
    except (FailedJobError, FailedSubmissionError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _refused(str(error)) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    paths = found.paths
    return Submitted(found.job_id, job.output, paths.stdout, paths.stderr)


def find_job(job_id: str) -> Submitted:
    """Return a job that was submitted before.

    Raises:
        InvalidInputError: it is no training of ours, or no number of a job.
        NotFoundError: Slurm does not know it.
        RemoteError: Slurm does not answer.
    """
    if not job_id.isdecimal():
        raise InvalidInputError(f"--follow {job_id}: not the number of a job", hint="see `squeue`")
    fields = show(job_id)
    data, log = Path(fields.get("StdOut", "")), Path(fields.get("StdErr", ""))
    if log.name != f"{job_id}_0_log.err" or data.name != f"{job_id}_0_log.out":
        raise InvalidInputError(
            f"job {job_id} is no training that xttsreg submitted", hint="see `squeue`"
        )
    return Submitted(job_id, Path(), data, log)


def _name(job: Job) -> str:
    """What the run's folder is called, without what means something in a batch script."""
    return re.sub(r"[^\w.-]", "_", job.output.name, flags=re.ASCII)


def _parameters(job: Job, keys: Mapping[str, Any]) -> dict[str, Any]:
    delay_s = keys["signal_delay_s"]
    more = {**keys["additional_parameters"], "requeue": True, "signal": f"B:USR2@{delay_s}"}
    return {
        "wckey": None,  # submitit has one of its own
        "job_name": f"xttsreg-{_name(job)}",
        **keys,
        "use_srun": False,
        "additional_parameters": more,
        "setup": [
            f"export XTTSREG_HOME={shlex.quote(str(places.home().absolute()))}",
            "export SUBMITIT_LOG_LEVEL=critical",  # it would write to standard output
        ],
    }


def _refused(told: str) -> InvalidInputError | RemoteError:
    lines = [line.partition("error: ")[2] or line for line in told.strip().splitlines()]
    text = f"Slurm did not take the job: {'; '.join(lines) or 'sbatch failed'}"
    if any(part in told for part in _UNREACHABLE):
        return RemoteError(
            text, op="sbatch", hint="ask `sinfo` whether Slurm is up, then try again"
        )
    return InvalidInputError(
        text, hint="mend --slurm; `sinfo` lists partitions, `sacctmgr` accounts"
    )
