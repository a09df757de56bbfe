"""Finds what a run can go on from, and tells a run from a model file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xttsreg import places
from xttsreg.content.reference import Reference
from xttsreg.errors import IntegrityError, InvalidInputError, InvalidModel, MissingDependency
from xttsreg.training.checkpoint import check_complete, load_checked
from xttsreg.training.engine import require_engine
from xttsreg.training.keeper import EXTRA
from xttsreg.training.options import TrainOptions
from xttsreg.training.position import Position
from xttsreg.training.runs import RECORD_NAME, Run
from xttsreg.training.saving import checkpoints

_RUN_KEYS = {"model", "optimizer", "step", "epoch"}
_MAY_CHANGE = {"epochs", "keep", "save_step", "gpus"}  # none of them changes a step that is to come


@dataclass(frozen=True, slots=True)
class Resumed:
    """A checkpoint to go on from.

    Attributes:
        path: The file; None if there is none, then the run begins anew.
        content: What it holds, tensors memory-mapped.
        skipped: Later ones that could not be taken, and why.
    """

    path: Path | None
    content: Any
    skipped: dict[Path, str]

    @property
    def step(self) -> int:
        """How many steps are done."""
        return int(self.content["step"]) if self.content else 0

    @property
    def position(self) -> Position:
        """What comes next."""
        return Position(**self.content[EXTRA]["position"]) if self.content else Position()


def load_last(directory: Path) -> Resumed:
    """Return the furthest checkpoint of a run that can be read completely."""
    skipped = {}
    for path in checkpoints(directory):
        try:
            check_complete(path)
            content = load_checked(path)
        except (IntegrityError, InvalidModel) as error:
            skipped[path] = f"{path.name} was left out: {error.message}"
            continue
        if not isinstance(content, dict) or not _RUN_KEYS | {EXTRA} <= set(content):
            skipped[path] = f"{path.name} was left out: it was not saved by xttsreg"
            continue
        return Resumed(path, content, skipped)
    return Resumed(None, None, skipped)


def find_run(text: str) -> Path:
    """Return the folder of a run.

    Args:
        text: What the user gave to ``--resume``: the folder, or its name below the runs' home.

    Raises:
        InvalidModel: there is nothing, or something else than a run; says what to do instead.
    """
    named = places.default_runs() / text
    path = named if not Path(text).exists() and named.is_dir() else Path(text)
    if not path.exists():
        raise InvalidModel(f"{text}: no such run", hint="`xttsreg runs` lists the runs")
    if not (path / RECORD_NAME).is_file():
        refuse_checkpoint_as_run(path)
    if path.is_file():
        raise InvalidModel(
            f"{path} is one checkpoint of a run, and a run goes on from its last one",
            hint=f"xttsreg train --resume {path.parent}",
        )
    return path.resolve()


def require_same_engine(run: Run) -> None:
    """Make sure that a run goes on with the engine that it began with.

    Raises:
        MissingDependency: here is the other one. The steps would not be those of a run that never
            stopped.
    """
    here = require_engine()
    began = run.record.get("engine", here.extra)
    if began != here.extra:
        raise MissingDependency(
            f"the run {run.name} began with xttsreg[{began}], and here is {here.name}: its steps "
            "would be others",
            extra=began,
            hint=f"go on with it in an environment with 'xttsreg[{began}]', or begin a new run",
        )


def read_options(run: Run, given: Mapping[str, Any]) -> TrainOptions:
    """Return the options of a run, with those that were given again.

    Args:
        run: The run.
        given: By name, as `TrainOptions` has them; also ``model``, ``name`` and ``output``.

    Raises:
        InvalidInputError: one contradicts the run's.
        InvalidModel: the run's record does not say.
    """
    stored, origin = run.record.get("options") or {}, run.record.get("origin") or {}
    try:
        options = TrainOptions.from_dict(stored)
    except (TypeError, KeyError) as error:
        raise InvalidModel(f"{run.directory / RECORD_NAME}: has no options ({error!r})") from error
    for key, value in given.items():
        if key in _MAY_CHANGE:
            continue
        known = _known(key, options, origin, run)
        if value != known:
            flag = "-o" if key == "overrides" else f"--{key.replace('_', '-')}"
            raise InvalidInputError(
                f"{flag} {value}: the run {run.name} has {known}",
                hint=f"leave {flag} out to go on with it, or begin a new run without --resume",
            )
    changed = replace(options, **{key: given[key] for key in _MAY_CHANGE & set(given)})
    if changed.epochs < options.epochs:
        raise InvalidInputError(
            f"--epochs {changed.epochs}: the run {run.name} is to have {options.epochs}",
            hint="more are possible, fewer are not: stop it with Ctrl-C when it is good enough",
        )
    return changed


def _known(key: str, options: TrainOptions, origin: Mapping[str, Any], run: Run) -> Any:
    """Return the run's own value in the form that the command line gives."""
    if key == "output":
        return run.directory
    if key in ("model", "name"):
        reference = origin.get("model" if key == "model" else "voice")
        return Reference.parse(reference).tagged if reference else ""
    return getattr(options, key)


def refuse_checkpoint_as_run(path: Path) -> None:
    """Raise if something else than a run's folder or a trainer checkpoint is given for a resume.

    Args:
        path: What the user gave to ``--resume``.

    Raises:
        InvalidModel: an inference checkpoint, a weight set, or nothing of the kind.
    """
    if path.is_dir():
        if any(path.glob("checkpoint_*.pth")) or any(path.glob("best_model*.pth")):
            return
        if (path / "model.pth").is_file():
            return _refuse(path / "model.pth")
        raise InvalidModel(
            f"{path}: no run, there is no checkpoint in it", hint="`xttsreg runs` lists the runs"
        )
    content = load_checked(path)
    keys = set(content) if isinstance(content, dict) else set()
    if keys >= _RUN_KEYS:
        return None
    if "model" in keys:
        return _refuse(path)
    raise InvalidModel(
        f"{path}: no checkpoint of a run (it has no 'model' entry)",
        hint="`xttsreg runs` lists the runs",
    )


def _refuse(path: Path) -> None:
    raise InvalidModel(
        f"{path} is an inference checkpoint, not a run: its names begin with gpt. where a run's "
        "begin with xtts.gpt., so the trainer would say '0 / N layers are restored', then fail "
        "with KeyError 'step', since it has no step, epoch or optimizer to go on from",
        hint="to fine-tune from it: `xttsreg add NAME DIR` with its weight set's directory, then "
        "`xttsreg train --model NAME ...` without --resume",
    )
