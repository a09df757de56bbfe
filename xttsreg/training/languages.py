"""Which languages a weight set can be trained and used in."""

from __future__ import annotations

import json
import re
from pathlib import Path

from xttsreg.errors import InvalidDataset, InvalidModel
from xttsreg.training.recipe import read_model_config

_TOKEN = re.compile(r"\[([a-z]{2}(?:-[a-z]{2})?)\]")


def supported_languages(view: Path) -> list[str]:
    """Return the languages that both vocab.json and, if it is there, config.json name.

    Raises:
        InvalidModel: vocab.json or config.json cannot be read.
    """
    path = view / "vocab.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        tokens = [str(token["content"]) for token in content.get("added_tokens", [])]
        tokens += list(content["model"]["vocab"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidModel(
            f"{path}: not a tokenizer file ({error!r})",
            hint="`xttsreg fetch xtts_v2` brings the published one",
        ) from error
    known = {match.group(1) for match in map(_TOKEN.fullmatch, tokens) if match}
    named = read_model_config(view).get("languages")
    return sorted(known & set(named) if named else known)


def check_language(view: Path, language: str) -> None:
    """Make sure that a weight set knows a language.

    Raises:
        InvalidDataset: it does not; the known ones are named.
    """
    known = supported_languages(view)
    short = language.split("-")[0]  # TTS drops the region, and calls Chinese zh-cn
    if short not in known and not (short == "zh" and "zh-cn" in known):
        raise InvalidDataset(
            f"the weight set does not support the language {language!r}",
            hint=f"it supports {', '.join(known)}",
        )
