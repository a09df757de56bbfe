"""What a dataset holds, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the trainer accepts: samples at 22050 Hz, and text tokens."""

    max_wav_length: int = 255995
    max_text_length: int = 200


@dataclass(frozen=True, slots=True)
class Example:
    """A clip of the evaluation set (else of the training set): text, file, and which set."""

    text: str
    audio_file: Path
    unseen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSummary:
    """What a dataset holds; ``dropped`` counts clips left out, by reason; seconds of the rest.

    ``warnings`` are for people; ``example`` is for the report's samples, and is not written down.
    """

    path: str
    formatter: str
    language: str
    clips: int
    train_clips: int
    eval_clips: int
    seconds: float
    shortest_seconds: float
    longest_seconds: float
    sample_rates: tuple[int, ...]
    dropped: dict[str, int]
    warnings: tuple[str, ...] = ()
    example: Example | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON types."""
        plain = asdict(self)
        plain.pop("example")
        return {
            **plain, "sample_rates": list(self.sample_rates), "warnings": list(self.warnings)
        }  # fmt: skip
