"""From a finished run to the inference set of a voice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from xttsreg.errors import InvalidModel, RestoreIncomplete, XttsregError
from xttsreg.training.checkpoint import load_model_state, save_model_state
from xttsreg.training.result import RunResult

_CARRIED = ("config.json", "vocab.json", "speakers_xtts.pth", "LICENSE.txt")


def extract_voice(run: RunResult, view: Path, directory: Path) -> None:
    """Write the files that inference needs, from the best checkpoint of a run.

    ``model.pth`` has the same names as the base's, so that the voice can be a base itself, and
    holds tensors only: no optimizer, no DVAE, no pickled classes.

    Args:
        run: The finished run.
        view: The weight set it started from.
        directory: Where to; made if it is not there.

    Raises:
        RestoreIncomplete: the checkpoint lacks tensors of the base, or has them in another shape.
        XttsregError: a tensor is not finite, or a file cannot be read.
    """
    state = load_model_state(run.best_checkpoint)
    base = load_model_state(view / "model.pth")
    _check_same_names(run.best_checkpoint, state, base)
    _check_finite(run.best_checkpoint, state)
    directory.mkdir(parents=True, exist_ok=True)
    # in the base's order, so that the same tensors give the same bytes
    save_model_state(directory / "model.pth", {name: state[name] for name in base})
    for name in _CARRIED:
        if (view / name).is_file():
            shutil.copyfile(view / name, directory / name)
    if not (directory / "config.json").is_file():
        _write_config(directory / "config.json", run.config)


def _check_same_names(path: Path, state: dict[str, Any], base: dict[str, Any]) -> None:
    missing = sorted(set(base) - set(state))
    unexpected = sorted(set(state) - set(base))
    both = set(state) & set(base)
    different = sorted(name for name in both if state[name].shape != base[name].shape)
    if missing or unexpected or different:
        first = (missing or unexpected or different)[0]
        raise RestoreIncomplete(
            f"{path}: not the tensors of its base: {len(missing)} missing, {len(unexpected)} "
            f"unknown, {len(different)} of another shape; first {first}",
            missing=missing,
            unexpected=unexpected,
            different=different,
        )


def _check_finite(path: Path, state: dict[str, Any]) -> None:
    import torch

    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise XttsregError(
                f"{path}: {name} is not finite, the training has diverged",
                hint="train again with a lower learning rate",
            )


def _write_config(path: Path, config: dict[str, Any]) -> None:
    """Write a config that stock inference reads, for a base that came without one."""
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.models.xtts import XttsArgs

    try:
        known = set(XttsArgs().to_dict()) - {"tokenizer_file"}
        args = {name: value for name, value in config["model_args"].items() if name in known}
        content = XttsConfig(model_args=XttsArgs(**args)).to_dict()
    except (KeyError, TypeError) as error:
        raise InvalidModel(f"no config.json can be made for this voice: {error!r}") from error
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
