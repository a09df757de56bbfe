"""Tells a run from a model file: the answer to "0 / 1023 layers are restored"."""

from __future__ import annotations

from pathlib import Path

from xttsreg import places
from xttsreg.errors import InvalidModel
from xttsreg.training.checkpoint import load_checked

_RUN_KEYS = {"model", "optimizer", "step", "epoch"}


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
    refuse_checkpoint_as_run(path)
    return path if path.is_dir() else path.parent


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
