"""Read a dataset through TTS's formatters and check it before TTS meets it.

TTS swallows every error of a clip and picks another one instead, until Python's recursion limit.
Here a missing or unreadable clip is an error with its name, and what the trainer would silently
leave out is counted and left out beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xttsreg.errors import InvalidDataset
from xttsreg.training.findings import Finding, raise_first
from xttsreg.training.languages import check_language
from xttsreg.training.metadata import known_formatters
from xttsreg.training.options import TrainOptions
from xttsreg.training.recipe import EVAL_MAX_CLIPS
from xttsreg.training.sieve import Sieve
from xttsreg.training.summary import DatasetSummary, Limits
from xttsreg.training.texts import Texts

__all__ = [
    "DatasetSummary", "Limits", "LoadedDataset", "Survey", "check_dataset", "known_formatters",
    "load_dataset", "survey_dataset",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoadedDataset:
    """Samples as TTS wants them, all usable, and their summary."""

    train: list[dict[str, Any]]
    evaluation: list[dict[str, Any]]
    summary: DatasetSummary


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that was found; ``data`` is None if something of it is fatal."""

    findings: tuple[Finding, ...]
    data: LoadedDataset | None


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
    found = survey_dataset(options, view=view, limits=limits)
    raise_first(found.findings)
    assert found.data is not None  # otherwise something was fatal
    return found.data


def survey_dataset(
    options: TrainOptions, *, view: Path | None = None, limits: Limits | None = None
) -> Survey:
    """Look at everything in a dataset, and go on where something is wrong.

    Raises:
        InvalidDataset: so wrong that nothing more can be said, such as an unreadable metadata file.
        MissingDependency: a language needs a package that is not installed.
    """
    if not options.dataset.is_dir():
        raise InvalidDataset(f"{options.dataset}: no such dataset directory")
    if view is not None:
        check_language(view, options.language)
    bounds = limits or Limits()
    sieve = Sieve(options, bounds, Texts(view, options.language, bounds.max_text_length))
    train = sieve.usable(options.metadata)
    evaluation = sieve.usable(options.metadata_eval) if options.metadata_eval else []
    if sieve.findings and any(finding.fatal for finding in sieve.findings):
        return Survey(tuple(sieve.findings), None)
    if options.metadata_eval:
        sieve.compare(train, evaluation)
    else:
        try:
            train, evaluation = _split(train, options.eval_split)
        except InvalidDataset as error:
            sieve.findings.append(Finding("split", error.message, error.hint or "", fatal=True))
            return Survey(tuple(sieve.findings), None)
    sieve.remark()
    summary = sieve.summary(train, evaluation)
    return Survey(tuple(sieve.findings), LoadedDataset(train, evaluation, summary))


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
