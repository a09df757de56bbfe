"""The folders of runs: what each is, whether its process lives, and how far it came."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, cast

from xttsreg import places
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidModel, StoreLocked
from xttsreg.stores import durable
from xttsreg.training.saving import checkpoints

RECORD_NAME = "run.json"
METRICS_NAME = "metrics.jsonl"
LOCK_NAME = ".lock"
_LOCK_WAIT_S = 10.0  # the processes of a killed run's data loaders live on for some seconds
_TAIL_BYTES = 1 << 16

State = Literal["preparing", "running", "interrupted", "failed", "finished", "killed", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run as its folder tells it.

    Attributes:
        directory: The folder.
        state: ``killed`` if it says that it is running, and its process is gone.
        record: Content of run.json.
        step: Of the last step that was written down; 0 if there was none.
        epoch: The same.
        loss: The same; None if there was none.
        eval_loss: Of the last evaluation.
        checkpoints: Names of the checkpoint files, the furthest first.
    """

    directory: Path
    state: State
    record: dict[str, Any] = field(repr=False)
    step: int = 0
    epoch: int = 0
    loss: float | None = None
    eval_loss: float | None = None
    checkpoints: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder's name, which ``--resume`` takes."""
        return self.directory.name

    @property
    def voice(self) -> str:
        """What the result is called, or will be; empty for a run without a store."""
        done: str = self.record.get("registered") or ""
        return done or str((self.record.get("origin") or {}).get("voice", ""))

    def as_dict(self) -> dict[str, Any]:
        """Return the run as JSON types."""
        return {
            "name": self.name,
            "state": self.state,
            "step": self.step,
            "epoch": self.epoch,
            "loss": self.loss,
            "eval_loss": self.eval_loss,
            "voice": self.voice,
            "registered": bool(self.record.get("registered")),
            "model": (self.record.get("origin") or {}).get("model", ""),
            "started": self.record.get("started", ""),
            "error": self.record.get("error"),
            "checkpoints": list(self.checkpoints),
            "directory": str(self.directory),
        }


def list_runs(home: Path | None = None) -> list[Run]:
    """Return all runs below a directory, the newest last.

    Args:
        home: None means the default one.
    """
    folder = places.default_runs() if home is None else home
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if (path / RECORD_NAME).is_file()]
    runs = [read_run(path) for path in found]
    return sorted(runs, key=lambda run: (str(run.record.get("started", "")), run.name))


def read_run(directory: Path) -> Run:
    """Return what a folder tells.

    Raises:
        InvalidModel: it has no readable run.json.
    """
    record = read_record(directory)
    step, evaluation = _last_events(directory / METRICS_NAME)
    return Run(
        directory=directory.resolve(),
        state=_state(directory, record),
        record=record,
        step=int(step.get("step", 0)),
        epoch=int(step.get("epoch", 0)),
        loss=step.get("loss"),
        eval_loss=evaluation.get("loss"),
        checkpoints=tuple(path.name for path in checkpoints(directory)),
    )


def read_record(directory: Path) -> dict[str, Any]:
    """Return the content of run.json.

    Raises:
        InvalidModel: there is none, or it is damaged.
    """
    path = directory / RECORD_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidModel(
            f"{directory}: no run of xttsreg, it has no {RECORD_NAME}",
            hint="`xttsreg runs` lists the runs; a stock trainer's goes on with its own script and "
            "--continue_path",
        ) from error
    except (ValueError, OSError) as error:
        raise InvalidModel(f"{path}: not readable ({error})") from error
    if not isinstance(content, dict):
        raise InvalidModel(f"{path}: not a JSON object")
    return content


def write_record(directory: Path, content: dict[str, Any]) -> None:
    """Replace run.json in one step; who writes it is added."""
    whole = {**content, "pid": os.getpid(), "host": socket.gethostname()}
    data = json.dumps(whole, indent=2, sort_keys=True).encode() + b"\n"
    path = directory / RECORD_NAME
    with durable.disk_errors(path, len(data)):
        durable.write_atomic(path, data, temporary=path.with_name(f".{RECORD_NAME}.partial"))


@contextmanager
def run_lock(directory: Path, *, wait_s: float = _LOCK_WAIT_S) -> Iterator[None]:
    """Keep a run's folder for this process; the system gives it back however the process ends.

    Raises:
        StoreLocked: another process is at it.
    """
    from filelock import FileLock, Timeout

    # A singleton: `finetune` holds it around `train`, which takes it again.
    lock = FileLock(directory / LOCK_NAME, is_singleton=True)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout as error:
        raise StoreLocked(
            f"{directory}: another process is at work on this run", hint="`xttsreg runs` shows it"
        ) from error
    try:
        yield
    finally:
        lock.release()


def default_folder(voice: Reference) -> Path:
    """Return where a new run goes if the user does not say."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    return places.default_runs() / f"{voice.name.replace('/', '-')}-{voice.tag}-{stamp}"


def is_listed(directory: Path) -> bool:
    """Whether `list_runs` finds this run."""
    home = places.default_runs()
    return home.is_dir() and any(path.resolve() == directory.resolve() for path in home.iterdir())


def list_elsewhere(voice: Reference, directory: Path) -> None:
    """Link a run that is elsewhere into the default place, so that it is listed with the others."""
    home = places.default_runs()
    if directory.resolve().parent == home.resolve():
        return
    with contextlib.suppress(OSError):  # a convenience only
        home.mkdir(parents=True, exist_ok=True)
        for old in home.iterdir():
            if old.is_symlink() and (not old.exists() or old.resolve() == directory.resolve()):
                old.unlink()
        default_folder(voice).symlink_to(directory.absolute(), target_is_directory=True)


def _state(directory: Path, record: dict[str, Any]) -> State:
    state = str(record.get("state", "unknown"))
    if state not in ("running", "preparing"):
        return cast(State, state)
    if record.get("host") != socket.gethostname():
        return cast(State, state)  # locks of other machines may not be seen here
    try:
        with run_lock(directory, wait_s=0):
            return "killed"
    except (StoreLocked, OSError):
        return cast(State, state)


def _last_events(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the last step and the last evaluation; a line that was cut by a kill is no line."""
    last: dict[str, dict[str, Any]] = {"step": {}, "eval": {}}
    if not path.is_file():
        return {}, {}
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _TAIL_BYTES))
        lines = stream.read().splitlines()
    for line in lines:
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and event.get("event") in last:
                last[event["event"]] = event
    return last["step"], last["eval"]
