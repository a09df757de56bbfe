"""What Slurm says about a job."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from xttsreg.errors import NotFoundError, Transient

_FIELD = re.compile(r"(?:^|\s)([A-Za-z:/]+)=(.*?)(?=\s[A-Za-z:/]+=|$)")
_ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "TIMEOUT",
}  # fmt: skip
_CANCELLED = 130
_COMMAND_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class State:
    """A job at one moment.

    Attributes:
        name: As Slurm has it, e.g. ``RUNNING``.
        reason: Why it waits; empty if it does not.
        node: Where it runs, or ran last; empty before.
        exit_code: Of the job, once it has ended.
        restarts: How often it was requeued.
    """

    name: str
    reason: str
    node: str
    exit_code: int
    restarts: int

    @property
    def is_over(self) -> bool:
        """Whether it has ended for good."""
        return self.name in _ENDED


def state_of(job_id: str) -> State:
    """Return the state of a job. Errors as `show`."""
    fields = show(job_id)
    name = fields["JobState"]
    code, _, number = fields.get("ExitCode", "0:0").partition(":")
    exit_code = int(code) or (128 + int(number) if int(number or 0) else 0)
    if name in _ENDED and name != "COMPLETED" and not exit_code:
        exit_code = 1
    return State(
        name=name,
        reason=_text(fields.get("Reason")) if name == "PENDING" else "",
        node=_text(fields.get("NodeList")),
        exit_code=_CANCELLED if name == "CANCELLED" else exit_code,
        restarts=int(fields.get("Restarts", "0")),
    )


def show(job_id: str) -> dict[str, str]:
    """Return what ``scontrol show job`` says.

    Raises:
        NotFoundError: Slurm does not know the job, or no more.
        Transient: it does not answer.
    """
    command = ["scontrol", "show", "job", "--oneliner", job_id]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Transient(f"scontrol: {error}", op="scontrol") from error
    if done.returncode:
        told = done.stderr.strip().splitlines()
        text = told[0] if told else f"scontrol: exit code {done.returncode}"
        if "Invalid job id" in done.stderr:
            raise NotFoundError(
                f"job {job_id}: Slurm does not know it (any more)",
                hint="`xttsreg runs` shows how far its run came; `sacct -j` what Slurm remembers",
            )
        raise Transient(text, op="scontrol")
    return dict(_FIELD.findall(done.stdout.strip()))


def _text(value: str | None) -> str:
    return "" if value in (None, "None", "(null)") else str(value)
