"""Texts as the tokenizer sees them: too long, empty, with characters it does not know."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from xttsreg.training.packages import require_language

_STOP, _UNKNOWN = 0, 1  # tokens on which TTS throws a clip away


class Texts:
    """Judges texts of one language.

    Args:
        view: The weight set; None to look only for empty texts.
        language: Code, e.g. ``zh-cn``.
        max_tokens: Longer texts are left out by the trainer.
    """

    def __init__(self, view: Path | None, language: str, max_tokens: int) -> None:
        self.unknown: Counter[str] = Counter()  # characters, and in how many texts
        self._language = language
        self._max_tokens = max_tokens
        self._tokenizer: Any = None
        if view is not None:
            require_language(language)
            self._tokenizer = _load(view)

    def problem(self, text: Any) -> str | None:
        """Why the trainer would leave this text out, as the end of "3 clips ..."; None if not."""
        if not isinstance(text, str) or not text.strip():  # pandas gives NaN for an empty cell
            return "without text"
        if self._tokenizer is None:
            return None
        tokens = self._tokenizer.encode(text, self._language)
        if len(tokens) > self._max_tokens:
            return f"with more than {self._max_tokens} text tokens"
        if _STOP in tokens or _UNKNOWN in tokens:
            self.unknown.update(self._strangers(text))
            return "with characters the tokenizer does not know"
        return None

    def _strangers(self, text: str) -> set[str]:
        """The characters to blame, after TTS has spelled out numbers and transliterated."""
        short = self._language.split("-")[0]
        cleaned = self._tokenizer.preprocess_text(text, short)
        encode = self._tokenizer.tokenizer.encode
        return {
            character
            for character in set(cleaned) - {" "}
            if {_STOP, _UNKNOWN} & set(encode(character).ids)
        }


def _load(view: Path) -> Any:
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

    return VoiceBpeTokenizer(str(view / "vocab.json"))
