"""Tells a run's checkpoint from a model file before the trainer restores nothing from it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xttsreg.content.checkpoint import require_safe
from xttsreg.errors import IntegrityError, InvalidModel, UnsafePickle
from xttsreg.training.checkpoint import check_complete
from xttsreg.training.shim.notes import tell
from xttsreg.training.shim.plan import Plan
from xttsreg.training.shim.weights import localize

_HINT = (
    "leave restore_path empty and give the file as GPTArgs(xtts_checkpoint=...), as the stock "
    "recipe does; restore_path and continue_path go on with a run"
)
_NUMBERED = re.compile(r"(?:checkpoint|best_model)_(\d+)\.pth")


def require_run(plan: Plan, restore_path: str) -> None:
    """Make sure that what the trainer is told to restore is a checkpoint of a run.

    Args:
        plan: Of this ``exec``.
        restore_path: As the recipe or its command line gives it; may be an address.

    Raises:
        InvalidModel: an inference checkpoint, another kind of file, or none.
        XttsregError: damaged, unsafe, or an address that the store does not answer.
    """
    path = Path(str(localize(plan, restore_path)))
    if path.is_dir():
        raise InvalidModel(
            f"restore_path: {path} is a folder",
            hint="continue_path goes on with the run of a folder, restore_path takes a file of it",
        )
    if not path.is_file():
        raise InvalidModel(f"restore_path: no file at {path}", hint=_HINT)
    try:
        summary = require_safe(path)
    except IntegrityError as error:
        if not isinstance(error, UnsafePickle):
            error.hint = "give the checkpoint before it; continue_path=FOLDER finds that by itself"
        raise
    if summary.kind == "inference":
        raise InvalidModel(
            f"restore_path: {path} is an inference checkpoint, not one of a run: its names begin "
            "with gpt. where a run's begin with xtts.gpt., so the trainer would say '0 / N layers "
            "are restored' and fail with KeyError 'step'",
            hint=_HINT,
        )
    if summary.kind != "trainer":
        raise InvalidModel(
            f"restore_path: {path} is no checkpoint of a run ({_what(summary.kind)})", hint=_HINT
        )
    missing = [name for name in ("step", "epoch") if name not in summary.top_keys]
    if missing:
        raise InvalidModel(
            f"restore_path: {path} has no {' and no '.join(missing)}: the trainer could not go on",
            hint=_HINT,
        )


def last_usable(plain: Callable[[str], tuple[str, str]], path: str) -> tuple[str, str]:
    """Choose what a run is continued from, and pass over a checkpoint that was half written.

    Args:
        plain: The trainer's own choice.
        path: Folder of the run.

    Returns:
        The last checkpoint, and the best one.

    Raises:
        InvalidModel: it is no folder of a run.
        IntegrityError: the run has checkpoints, and not one of them is whole.
    """
    names = [file.name for file in Path(path).glob("*.pth")]
    ours = [name for name in names if name.startswith(("checkpoint", "best_model"))]
    if not ours or not (Path(path) / "config.json").is_file():
        raise InvalidModel(
            f"continue_path: {path} is no folder of a run with a checkpoint in it",
            hint="it wants the folder with config.json, best_model.pth or checkpoint_N.pth that "
            "the trainer has made; to start from weights, leave it empty",
        )
    numbered = [(int(match[1]), file) for file in Path(path).glob("*.pth")
                if (match := _NUMBERED.fullmatch(file.name))]  # fmt: skip
    whole, damaged = [], 0
    for _, file in sorted(numbered, reverse=True):
        try:
            check_complete(file)
            whole.append(str(file))
        except IntegrityError as error:
            damaged += 1
            tell(f"xttsreg: {file.name} is left out: {error.message}")
        if whole and (damaged == 0 or "best_model" in whole[-1]):
            break
    if not damaged:
        return plain(path)
    if not whole:
        raise IntegrityError(
            f"continue_path: {path} has no checkpoint that is whole, of {damaged}",
            hint="nothing can be gone on with: begin a new run, without continue_path",
        )
    tell(f"xttsreg: the run goes on from {Path(whole[0]).name}")
    best = next((name for name in whole if "best_model" in name), whole[0])
    return whole[0], best


def keep_types(config: Any, before: dict[str, type], folder: Path) -> None:
    """Undo what reading a run's config.json does to a config, when a run is continued.

    TTS reads the fields of the trainer as those of inference, and loses the ones that only the
    trainer has, such as ``debug_loading_failures``: the first batch would fail.

    Args:
        config: Of the trainer, as read.
        before: Classes of ``model_args`` and ``audio`` in the recipe's own config.
        folder: Of the run.
    """
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for name, kind in before.items():
        if type(getattr(config, name, None)) is not kind and isinstance(written.get(name), dict):
            known = {field.name for field in dataclasses.fields(kind)}
            values = {key: value for key, value in written[name].items() if key in known}
            setattr(config, name, kind(**values))


def _what(kind: str) -> str:
    return "of a kind that XTTS does not have" if kind == "unknown" else f"its kind is {kind}"
