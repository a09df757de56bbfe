"""Read a dataset through TTS's formatters and check it before TTS meets it.

TTS swallows every error of a clip and picks another one instead, until Python's recursion limit.
Here a missing or unreadable clip is an error with its name, and what the trainer would silently
leave out is counted and left out beforehand.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xttsreg.errors import InvalidDataset, MissingDependency
from xttsreg.training.languages import check_language
from xttsreg.training.options import TrainOptions
from xttsreg.training.recipe import EVAL_MAX_CLIPS

MODEL_RATE = 22050  # Hz, the rate XTTS resamples clips to
MIN_SECONDS = 0.5  # TTS leaves out what is shorter
_LJSPEECH_COLUMNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the trainer accepts: samples at 22050 Hz, and text tokens."""

    max_wav_length: int = 255995
    max_text_length: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSummary:
    """What a dataset holds; ``dropped`` counts clips left out, by reason; seconds of the rest."""

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

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON types."""
        return {**asdict(self), "sample_rates": list(self.sample_rates)}


@dataclass(frozen=True, slots=True)
class LoadedDataset:
    """Samples as TTS wants them, all usable, and their summary."""

    train: list[dict[str, Any]]
    evaluation: list[dict[str, Any]]
    summary: DatasetSummary


@dataclass(frozen=True, slots=True)
class _Clip:
    seconds: float
    sample_rate: int


def check_dataset(options: TrainOptions, *, view: Path | None = None) -> DatasetSummary:
    """Check a dataset and say what is in it.

    Args:
        options: Which dataset, and how to read it.
        view: The weight set; with it, language and characters are checked against its tokenizer.

    Returns:
        The summary.

    Raises:
        InvalidDataset: it cannot be trained on; the first offending file or line is named.
        MissingDependency: a language needs a package that is not installed.
    """
    return load_dataset(options, view=view).summary


def load_dataset(
    options: TrainOptions, *, view: Path | None = None, limits: Limits | None = None
) -> LoadedDataset:
    """Read, check, filter and split a dataset. Arguments and errors as `check_dataset`."""
    formatter = _formatter(options.formatter)
    if not options.dataset.is_dir():
        raise InvalidDataset(f"{options.dataset}: no such dataset directory")
    tokenizer = None
    if view is not None:
        check_language(view, options.language)
        tokenizer = _tokenizer(view)
    filtering = _Filter(options, limits or Limits(), tokenizer)
    train = filtering.usable(_read(formatter, options, options.metadata))
    if options.metadata_eval:
        evaluation = filtering.usable(_read(formatter, options, options.metadata_eval))
    else:
        train, evaluation = _split(train, options.eval_split)
    return LoadedDataset(train, evaluation, filtering.summary(len(train), len(evaluation)))


def known_formatters() -> list[str]:
    """Return the names of the formatters that TTS has."""
    from TTS.tts.datasets import formatters

    return sorted(
        name
        for name, function in inspect.getmembers(formatters, inspect.isfunction)
        if function.__module__ == formatters.__name__
        and next(iter(inspect.signature(function).parameters), "") == "root_path"
        and not name.startswith("_")
    )


def _formatter(name: str) -> Callable[..., list[dict[str, Any]]]:
    from TTS.tts.datasets import formatters

    known = known_formatters()
    if name.lower() not in known:
        raise InvalidDataset(f"unknown formatter {name!r}", hint=f"TTS knows {', '.join(known)}")
    function: Callable[..., list[dict[str, Any]]] = getattr(formatters, name.lower())
    return function


def _tokenizer(view: Path) -> Any:
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

    return VoiceBpeTokenizer(str(view / "vocab.json"))


def _read(
    formatter: Callable[..., list[dict[str, Any]]], options: TrainOptions, metadata: str
) -> list[dict[str, Any]]:
    from TTS.tts.datasets import add_extra_keys

    path = options.dataset / metadata
    if not path.exists():
        raise InvalidDataset(
            f"{path}: no such metadata file",
            hint="name another one with the metadata option, or another --formatter",
        )
    try:
        if options.formatter.lower() == "ljspeech":
            _check_columns(path)
        samples = formatter(str(options.dataset), metadata, ignored_speakers=None)
    except (UnicodeDecodeError, IndexError, KeyError, ValueError, AssertionError, OSError) as error:
        if isinstance(error, InvalidDataset):
            raise
        raise InvalidDataset(
            f"{path}: the formatter {options.formatter} cannot read it: {error!r}"
        ) from error
    if not samples:
        raise InvalidDataset(f"{path}: no clips in it")
    enriched: list[dict[str, Any]] = add_extra_keys(samples, options.language, options.dataset.name)
    return enriched


def _check_columns(path: Path) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        columns = line.count("|") + 1
        if columns < _LJSPEECH_COLUMNS:
            raise InvalidDataset(
                f"{path}, line {number}: {columns} columns, ljspeech wants id|text|normalised text"
            )


class _Filter:
    """Sorts out the samples that the trainer would leave out, and counts them."""

    def __init__(self, options: TrainOptions, limits: Limits, tokenizer: Any) -> None:
        self._options = options
        self._limits = limits
        self._tokenizer = tokenizer
        self._kept: list[_Clip] = []
        self._dropped: Counter[str] = Counter()

    def usable(self, samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        _require_clips(samples)
        result = []
        for sample in samples:
            clip = _probe(Path(sample["audio_file"]))
            reason = self._clip_problem(clip) or self._text_problem(str(sample["text"]))
            if reason:
                self._dropped[reason] += 1
                continue
            self._kept.append(clip)
            result.append(sample)
        if not result:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self._dropped.items())
            raise InvalidDataset(f"{self._options.dataset}: no usable clip is left ({reasons})")
        return result

    def summary(self, train: int, evaluation: int) -> DatasetSummary:
        lengths = [clip.seconds for clip in self._kept]
        return DatasetSummary(
            path=str(self._options.dataset),
            formatter=self._options.formatter,
            language=self._options.language,
            clips=len(self._kept),
            train_clips=train,
            eval_clips=evaluation,
            seconds=round(sum(lengths), 3),
            shortest_seconds=round(min(lengths), 3),
            longest_seconds=round(max(lengths), 3),
            sample_rates=tuple(sorted({clip.sample_rate for clip in self._kept})),
            dropped=dict(self._dropped),
        )

    def _clip_problem(self, clip: _Clip) -> str | None:
        if clip.seconds < MIN_SECONDS:
            return "shorter than 0.5 s"
        if math.ceil(clip.seconds * MODEL_RATE) > self._limits.max_wav_length:
            return f"longer than {self._limits.max_wav_length / MODEL_RATE:.1f} s"
        return None

    def _text_problem(self, text: str) -> str | None:
        if not text.strip():
            return "without text"
        if self._tokenizer is None:
            return None
        try:
            tokens = self._tokenizer.encode(text, self._options.language)
        except ImportError as error:
            raise MissingDependency(
                f"texts in {self._options.language!r} need {error.name}, which is not installed",
                extra="train",
                hint=f"pip install {error.name}",
            ) from error
        if len(tokens) > self._limits.max_text_length:
            return f"with more than {self._limits.max_text_length} text tokens"
        if 0 in tokens or 1 in tokens:  # [STOP] and [UNK]
            return "with characters the tokenizer does not know"
        return None


def _require_clips(samples: Sequence[dict[str, Any]]) -> None:
    paths = [str(sample["audio_file"]) for sample in samples]
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise InvalidDataset(
            f"{len(missing)} of {len(samples)} clips are missing, first {missing[0]}"
        )


def _probe(path: Path) -> _Clip:
    """Open a clip and read its last sample, so that a cut file is noticed."""
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as clip:
            frames, rate = len(clip), int(clip.samplerate)
            clip.seek(max(0, frames - 1))
            if frames and len(clip.read(1)) != 1:
                raise InvalidDataset(f"{path}: the clip is cut off")
    except soundfile.SoundFileError as error:
        raise InvalidDataset(f"{path}: not readable as audio ({error})") from error
    return _Clip(frames / rate, rate)


def _split(samples: list[dict[str, Any]], size: float) -> tuple[list[Any], list[Any]]:
    """Split off the evaluation clips as stock does, but at least two, and never all.

    One would not do: stock leaves the last clip of an evaluation batch out of the audio loss.
    """
    from TTS.tts.datasets import split_dataset

    if size <= 0:
        return samples, []
    if len(samples) < 3:
        raise InvalidDataset(
            f"{len(samples)} usable clips cannot be split into training and evaluation",
            hint="add clips, or train without evaluation (--eval-split 0)",
        )
    count = max(2, int(size) if size >= 1 else int(len(samples) * size))
    count = min(count, len(samples) - 1, EVAL_MAX_CLIPS)
    evaluation, train = split_dataset(samples, None, count)
    return train, evaluation
