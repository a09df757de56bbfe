"""Texts as the tokenizer sees them: too long, empty, with characters it does not know."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

_STOP, _UNKNOWN = 0, 1  # tokens on which TTS throws a clip away


class Texts:
    """Judges texts of one language.

    Args:
        view: The weight set; None to look only for empty texts.
        language: Code, e.g. ``zh-cn``.
        max_tokens: Longer texts are left out by the trainer.

    Attributes:
        unknown: Characters that the tokenizer does not know, and in how many texts they are.
        tokenizer: The set's; one that is there already may be put in its place.
    """

    def __init__(self, view: Path | None, language: str, max_tokens: int) -> None:
        self.unknown: Counter[str] = Counter()
        self._language = language
        self._max_tokens = max_tokens
        self.tokenizer: Any = None
        if view is not None:
            from xttsreg.training.packages import require_language  # not needed below `exec`

            require_language(language)
            self.tokenizer = _load(view)

    def problem(self, text: Any) -> str | None:
        """Why the trainer would leave this text out, as the end of "3 clips ..."; None if not."""
        if not isinstance(text, str) or not text.strip():  # pandas gives NaN for an empty cell
            return "without text"
        if self.tokenizer is None:
            return None
        tokens = self.tokenizer.encode(text, self._language)
        if len(tokens) > self._max_tokens:
            return f"with more than {self._max_tokens} text tokens"
        if _STOP in tokens or _UNKNOWN in tokens:
            self.unknown.update(self._strangers(text))
            return "with characters the tokenizer does not know"
        return None

    def _strangers(self, text: str) -> set[str]:
        """The characters to blame, after TTS has spelled out numbers and transliterated."""
        short = self._language.split("-")[0]
        cleaned = self.tokenizer.preprocess_text(text, short)
        encode = self.tokenizer.tokenizer.encode
        return {
            character
            for character in set(cleaned) - {" "}
            if {_STOP, _UNKNOWN} & set(encode(character).ids)
        }


def _load(view: Path) -> Any:
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

    return VoiceBpeTokenizer(str(view / "vocab.json"))
