"""Sorts the clips of a dataset: what the trainer would take, what it would silently leave out."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xttsreg.errors import InvalidDataset
from xttsreg.training.clips import MODEL_RATE, Clip, is_there, leaves, length_problem, probe
from xttsreg.training.findings import Finding, clips, some
from xttsreg.training.metadata import Samples, read_samples
from xttsreg.training.options import TrainOptions
from xttsreg.training.summary import DatasetSummary, Example, Limits
from xttsreg.training.texts import Texts

_HIGH_RATE = 48000  # Hz; resampling what is above costs more time than training on it


class Sieve:
    """Sorts out the samples that the trainer would leave out, and counts them."""

    def __init__(self, options: TrainOptions, limits: Limits, texts: Texts) -> None:
        self.findings: list[Finding] = []
        self._options = options
        self._limits = limits
        self._texts = texts
        self._kept: list[Clip] = []
        self._dropped: Counter[str] = Counter()

    def usable(self, metadata: str) -> Samples:
        """Read one metadata file; return what can be trained on, note what cannot."""
        with contextlib.redirect_stdout(io.StringIO()):  # formatters and tokenizer print
            samples, remarks = read_samples(self._options, metadata)
            self.findings += remarks
            self.findings += _duplicates(samples, metadata)
            before = self._dropped.copy()
            result = self._sift(samples)
        if not result and not any(finding.fatal for finding in self.findings):
            gone = self._dropped - before
            reasons = ", ".join(f"{count} {reason}" for reason, count in gone.items())
            self._fail("split", f"{self._options.dataset}: no usable clip is left ({reasons})")
        return result

    def _sift(self, samples: Samples) -> Samples:
        result: Samples = []
        missing: list[str] = []
        broken: list[str] = []
        outside: list[str] = []
        for sample in samples:
            path = Path(sample["audio_file"])
            if leaves(path, self._options.dataset):
                outside.append(str(path))
                continue
            if not is_there(path):
                missing.append(str(path))
                continue
            try:
                clip = probe(path)
            except InvalidDataset as error:
                broken.append(error.message)
                continue
            reason = length_problem(clip, self._limits.max_wav_length)
            reason = reason or self._texts.problem(sample["text"])
            if reason:
                self._dropped[reason] += 1
                continue
            self._kept.append(clip)
            result.append(sample)
        self._judge(len(samples), missing, broken, outside)
        return result

    def _judge(self, total: int, missing: list[str], broken: list[str], outside: list[str]) -> None:
        if outside:
            self._fail(
                "clips",
                f"{len(outside)} of {total} clips lie outside the dataset, first {outside[0]}",
                "move them into it: what is outside is not in the dataset's digest",
            )
        if missing:
            self._fail(
                "clips",
                f"{len(missing)} of {total} clips are missing, first {missing[0]}",
                "right --formatter? clips without it: remove their lines from the metadata",
            )
        if broken:
            more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
            self._fail("clips", broken[0] + more, "make these clips again, or remove their lines")

    def _fail(self, topic: str, message: str, action: str = "") -> None:
        self.findings.append(Finding(topic, message, action, fatal=True))

    def compare(self, train: Samples, evaluation: Samples) -> None:
        """Clips in both files make the evaluation look better than the voice is."""
        both = {str(s["audio_file"]) for s in train} & {str(s["audio_file"]) for s in evaluation}
        if both:
            text = f"{clips(len(both))} both for training and for evaluation, first {min(both)}"
            self.findings.append(Finding("split", text, "take them out of one of the two files"))

    def remark(self) -> None:
        """Say what was dropped, and what about the rest is odd."""
        for reason, count in self._dropped.items():
            topic = "lengths" if "er than" in reason else "texts"
            text = f"{clips(count)} {reason}: left out, as the trainer does without saying so"
            action = "cut or mend them, or leave it so"
            if "characters" in reason:
                strangers = [repr(c) for c, _ in self._texts.unknown.most_common()]
                text += f" ({some(strangers, 8)})"
            self.findings.append(Finding(topic, text, action))
        for odd, is_odd, action in _AUDIO:
            count = sum(is_odd(clip) for clip in self._kept)
            if count:
                self.findings.append(Finding("audio", f"{clips(count)} {odd}", action))

    def summary(self, train: Samples, evaluation: Samples) -> DatasetSummary:
        """Sum up what was kept."""
        lengths = [clip.seconds for clip in self._kept]
        return DatasetSummary(
            path=str(self._options.dataset),
            formatter=self._options.formatter,
            language=self._options.language,
            clips=len(self._kept),
            train_clips=len(train),
            eval_clips=len(evaluation),
            seconds=round(sum(lengths), 3),
            shortest_seconds=round(min(lengths), 3),
            longest_seconds=round(max(lengths), 3),
            sample_rates=tuple(sorted({clip.sample_rate for clip in self._kept})),
            dropped=dict(self._dropped),
            warnings=tuple(f.message for f in self.findings if f.action),
            example=_example(train, evaluation),
        )


_AUDIO: tuple[tuple[str, Callable[[Clip], bool], str], ...] = (
    (
        "with several channels",
        lambda clip: clip.channels > 1,
        "nothing needed: they are mixed to one",
    ),
    (
        "with 8 bits a sample",
        lambda clip: clip.bits < 16,
        "the hiss is learnt too; take the originals if there are any",
    ),
    (
        f"with less than {MODEL_RATE} Hz",
        lambda clip: clip.sample_rate < MODEL_RATE,
        "the voice will sound muffled; take better originals if there are any",
    ),
    (
        f"with more than {_HIGH_RATE} Hz",
        lambda clip: clip.sample_rate > _HIGH_RATE,
        f"resample them once ({MODEL_RATE} Hz is enough): it is done again every epoch",
    ),
)


def _duplicates(samples: Samples, metadata: str) -> list[Finding]:
    texts: dict[str, set[str]] = {}
    counts = Counter(str(sample["audio_file"]) for sample in samples)
    for sample in samples:
        texts.setdefault(str(sample["audio_file"]), set()).add(str(sample["text"]).strip())
    twice = [path for path, count in counts.items() if count > 1]
    if not twice:
        return []
    contrary = sum(len(texts[path]) > 1 for path in twice)
    more = f", {contrary} of them with different texts" if contrary else ""
    text = f"{clips(len(twice))} more than once in {metadata}{more}, first {twice[0]}"
    return [Finding("names", text, "remove the lines that are too many")]


def _example(train: Samples, evaluation: Samples, wanted: int = 80) -> Example | None:
    """The clip whose text has a good length for listening, in characters."""
    source: Sequence[dict[str, Any]] = evaluation or train
    if not source:
        return None
    chosen = min(source, key=lambda sample: abs(len(str(sample["text"])) - wanted))
    text = " ".join(str(chosen["text"]).split())
    return Example(text, Path(chosen["audio_file"]), bool(evaluation))
