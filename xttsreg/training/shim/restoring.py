"""Tells a run's checkpoint from a model file before the trainer restores nothing from it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from xttsreg.content.checkpoint import require_safe
from xttsreg.errors import InvalidModel
from xttsreg.training.shim.plan import Plan
from xttsreg.training.shim.weights import localize

_HINT = (
    "leave restore_path empty and give the file as GPTArgs(xtts_checkpoint=...), as the stock "
    "recipe does; restore_path and continue_path go on with a run"
)


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
    summary = require_safe(path)
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
