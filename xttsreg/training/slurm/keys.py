"""What ``--slurm KEY=VALUE,...`` may say: sbatch's own keys, but for those that a job must not set.

A value ends up in a line of the batch script, behind ``#SBATCH``, so it must be one line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xttsreg.errors import InvalidInputError

# As submitit's SlurmExecutor takes them.
_TEXTS = (
    "account", "comment", "constraint", "dependency", "exclude", "gres", "job_name", "mail_type",
    "mail_user", "mem", "mem_per_cpu", "mem_per_gpu", "nodelist", "partition", "qos", "wckey",
)  # fmt: skip
_NUMBERS = ("cpus_per_task", "gpus_per_node", "signal_delay_s")
_SWITCHES = ("exclusive",)
# As sbatch takes them; submitit hands them on.
_MORE = ("begin", "cpus_per_gpu", "deadline", "gpus", "licenses", "nice", "reservation", "tmp")
_ONE = ("nodes", "ntasks", "ntasks_per_node")
KEYS = (*_TEXTS, *_NUMBERS, *_SWITCHES, *_MORE, "time")

_COMMANDS = "it would run commands of a shell around the training"
_OURS = "xttsreg sets it, to follow the job and to go on with it"
_REFUSED = {
    **dict.fromkeys(("setup", "teardown", "srun_args", "wrap", "prolog", "epilog"), _COMMANDS),
    **dict.fromkeys(
        ("output", "error", "input", "open_mode", "requeue", "no_requeue", "signal", "chdir",
         "stderr_to_stdout", "use_srun", "export", "export_file", "parsable", "wait", "hold"),
        _OURS,
    ),
    **dict.fromkeys(("array", "array_parallelism"), "a training run is one job"),
    **dict.fromkeys(("uid", "gid", "get_user_env"), "a job runs as who submits it"),
    **dict.fromkeys(("additional_parameters", "num_gpus"), "its parts have keys of their own"),
}  # fmt: skip
# Enough to finish a step and to write a checkpoint of 5.6 GB; submitit's own default is 90.
_SIGNAL_DELAY_S = 120
_KEY = re.compile(r"[A-Za-z][A-Za-z_-]*")
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def parse(texts: Sequence[str]) -> dict[str, Any]:
    """Return what submitit's executor is told, from the text of ``--slurm``.

    A comma parts two keys if a key follows it; otherwise it belongs to the value.

    Args:
        texts: One for each time that the option was given.

    Raises:
        InvalidInputError: a key that is unknown, refused or there twice, or an unfit value.

    >>> found = parse(["partition=gpu,gres=gpu:4,lustre:1,time=1-12:00:00", "exclusive"])
    >>> found["partition"], found["gres"], found["time"], found["exclusive"]
    ('gpu', 'gpu:4,lustre:1', 2160, True)
    """
    given: dict[str, str] = {}
    for key, value in (pair for text in texts for pair in _pairs(text)):
        _require_known(key)
        if key in given:
            raise InvalidInputError(f"--slurm: {key} is there twice", hint="give it once")
        if not value.isprintable() or not value.strip() or value != value.strip():
            raise InvalidInputError(
                f"--slurm {key}: {value!r} is no value", hint="one line of printable characters"
            )
        given[key] = value
    found: dict[str, Any] = {"signal_delay_s": _SIGNAL_DELAY_S}
    more: dict[str, str] = {}
    for key, value in given.items():
        if key in _MORE:
            more[key] = value
        elif key not in _ONE:
            found[key] = _value(key, value)
    _require_one(given)
    if "time" not in found:  # submitit would write five minutes
        raise InvalidInputError(
            "--slurm: the time limit is missing",
            hint="e.g. time=24:00:00; the job goes on after it",
        )
    return {**found, "additional_parameters": more}


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    key, value = "", ""
    for part in text.split(","):
        name, equals, rest = part.partition("=")
        name = name.strip()
        is_key = bool(_KEY.fullmatch(name)) and (bool(equals) or _plain(name) in _SWITCHES)
        if not is_key and not key:
            raise InvalidInputError(
                f"--slurm {text!r}: not KEY=VALUE,...",
                hint="e.g. --slurm partition=gpu,gres=gpu:4,time=24:00:00",
            )
        if is_key:
            if key:
                yield key, value
            key, value = _plain(name), rest if equals else "true"
        else:
            value = f"{value},{part}"
    yield key, value


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _require_known(key: str) -> None:
    if key in _REFUSED:
        raise InvalidInputError(
            f"--slurm {key}: is not taken, {_REFUSED[key]}", hint=f"leave {key} out"
        )
    if key in KEYS or key in _ONE:
        return
    near = difflib.get_close_matches(key, KEYS, n=1)
    raise InvalidInputError(
        f"--slurm {key}: no such key",
        hint=f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(KEYS))}",
    )


def _require_one(given: Mapping[str, str]) -> None:
    for key in _ONE:
        if given.get(key, "1") != "1":
            raise InvalidInputError(
                f"--slurm {key}={given[key]}: a run is one process, on one node",
                hint="several GPUs of a node: gres=gpu:N",
            )


def _value(key: str, value: str) -> Any:
    if key == "time":
        return minutes(value)
    if key in _SWITCHES:
        return True if value.lower() == "true" else value
    if key not in _NUMBERS:
        return value
    if not value.isdecimal() or int(value) < 1:
        raise InvalidInputError(
            f"--slurm {key}={value}: not a number above 0", hint=f"e.g. {key}=8"
        )
    return int(value)


def minutes(text: str) -> int:
    """Return a time limit as sbatch writes it, in minutes, rounded up.

    Raises:
        InvalidInputError: it is none of sbatch's six forms, or no time at all.

    >>> minutes("90"), minutes("90:30"), minutes("24:00:00"), minutes("1-12"), minutes("1-0:30")
    (90, 91, 1440, 2160, 1470)
    """
    match = _TIME.fullmatch(text)
    days, *rest = match.groups() if match else ("", "")
    numbers = [int(part) for part in rest if part]
    if days is not None:  # days-hours[:minutes[:seconds]]
        hours, mins, seconds = [*numbers, 0, 0, 0][:3]
    else:  # minutes[:seconds] or hours:minutes:seconds
        hours, mins, seconds = numbers if len(numbers) == 3 else [0, *numbers, 0][:3]
    total_s = ((int(days or 0) * 24 + hours) * 60 + mins) * 60 + seconds
    if total_s <= 0:
        raise InvalidInputError(
            f"--slurm time={text}: no time limit", hint="e.g. time=24:00:00, 1-12:00:00, or 90"
        )
    return -(-total_s // 60)
