"""From a view to a constructed ``GPTTrainer``, with each misleading failure said plainly."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from xttsreg.errors import IntegrityError, InvalidModel, RestoreIncomplete
from xttsreg.training.blank import quick_build
from xttsreg.training.checkpoint import load_checked, load_model_state
from xttsreg.training.explain import first_line, memory_explained

TRAIN_FILES = ("model.pth", "dvae.pth", "mel_stats.pth", "vocab.json")
_ONLY_TRAIN = {"dvae.pth", "mel_stats.pth"}
_MISMATCH = re.compile(r"size mismatch for (\S+?):")
_FIT_HINT = (
    "the files are of different weight sets; `xttsreg inspect FILE.pth` says what each one is"
)


def require_trainable(view: Path) -> None:
    """Make sure that a view has every file that training reads.

    Raises:
        InvalidModel: files are missing; says which, and how to get them.
    """
    missing = [name for name in TRAIN_FILES if not (view / name).is_file()]
    if not missing:
        return
    names = ", ".join(missing)
    if set(missing) <= _ONLY_TRAIN:
        raise InvalidModel(
            f"{view} is an inference-only set: training also needs {names}",
            hint="`xttsreg fetch xtts_v2` brings the full set; a voice trains with the dvae.pth "
            "and mel_stats.pth of its base",
        )
    raise InvalidModel(
        f"{view} cannot be trained from: no {names}",
        hint="`xttsreg fetch xtts_v2`, or `xttsreg import` from a bundle, brings all files",
    )


def check_fit(view: Path) -> None:
    """Compare what can be compared before the expensive construction.

    Raises:
        RestoreIncomplete: vocab.json or mel_stats.pth is of another size than model.pth wants.
        XttsregError: a file is missing, damaged, unsafe or no checkpoint.
    """
    require_trainable(view)
    state = load_model_state(view / "model.pth")
    _check_vocab(view / "vocab.json", state.get("gpt.text_embedding.weight"))
    _check_mel_stats(view / "mel_stats.pth", state.get("mel_stats"))
    _check_dvae(view / "dvae.pth")


def construct(config: Any, view: Path) -> Any:
    """Build the stock ``GPTTrainer``, without the random weights that the files replace.

    Its loads are ``weights_only=True`` and mapped. Same tensors as stock's, in a fraction of the
    time.

    Args:
        config: As `recipe.build_config` makes it.
        view: The same view.

    Returns:
        The model. Nothing has been proved about it yet, see `proof.prove_restore`.

    Raises:
        RestoreIncomplete: a tensor has another shape than the model wants.
        IntegrityError: construction failed in another way.
        XttsregError: as `check_fit`.
    """
    from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer

    check_fit(view)
    try:
        with memory_explained("the model was built"), quick_build():
            return GPTTrainer.init_from_config(config)
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, EOFError) as error:
        names = _MISMATCH.findall(str(error))
        if names:
            raise RestoreIncomplete(
                f"{view}: {len(names)} tensors have another shape than the model, first {names[0]}",
                different=names,
                hint=_FIT_HINT,
            ) from error
        raise IntegrityError(
            f"{view}: the model cannot be built from these files: {first_line(error)}",
            hint=_FIT_HINT,
        ) from error


def count_text_tokens(vocab: Path) -> int:
    """Return the number of text tokens as TTS counts them: the largest token id plus one.

    Raises:
        IntegrityError: not a tokenizer file.
    """
    try:
        content = json.loads(vocab.read_text(encoding="utf-8"))
        ids = [int(number) for number in content["model"]["vocab"].values()]
        ids += [int(token["id"]) for token in content.get("added_tokens", [])]
        return max(ids) + 1
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{vocab}: not a tokenizer file ({error!r})") from error


def _check_vocab(vocab: Path, embedding: Any) -> None:
    tokens = count_text_tokens(vocab)
    if embedding is not None and embedding.shape[0] != tokens:
        raise RestoreIncomplete(
            f"{vocab} has {tokens} tokens, model.pth was trained with {embedding.shape[0]}",
            different=["gpt.text_embedding.weight", "gpt.text_head.weight", "gpt.text_head.bias"],
            hint=_FIT_HINT,
        )


def _check_dvae(path: Path) -> None:
    """Find the state that lies one level too deep; torch passes over it without a word."""
    content = load_checked(path)
    if not isinstance(content, dict):
        raise InvalidModel(
            f"{path}: no DVAE checkpoint, it holds no names",
            hint="`xttsreg inspect` says what it is",
        )
    for key, inner in content.items():
        if isinstance(inner, dict) and any(str(name).startswith("decoder.") for name in inner):
            raise RestoreIncomplete(
                f"{path}: the DVAE is nested under the key {key!r}, so that nothing of it would be "
                "restored",
                unexpected=[str(key)],
                hint=f"save what lies under {key!r} as dvae.pth, or bring the published file: "
                "xttsreg fetch xtts_v2",
            )


def _check_mel_stats(path: Path, in_model: Any) -> None:
    stats = load_checked(path)
    wanted = tuple(in_model.shape) if in_model is not None else (80,)
    shape = tuple(getattr(stats, "shape", ()))
    if shape != wanted:
        raise RestoreIncomplete(
            f"{path} holds values of shape {list(shape)}, the model wants {list(wanted)}",
            different=["mel_stats"],
            hint=_FIT_HINT,
        )
    unusable = count_unusable(stats)
    if unusable:
        raise RestoreIncomplete(
            f"{path}: {unusable} of {len(stats)} values are zero or no numbers: spectrograms are "
            "divided by them, and the loss would be nan",
            different=["mel_stats"],
            hint="bring the published file: xttsreg fetch xtts_v2",
        )


def count_unusable(stats: Any) -> int:
    """Return how many values of the mel statistics nothing can be divided by."""
    import torch

    return int((~torch.isfinite(stats) | (stats == 0)).sum())
