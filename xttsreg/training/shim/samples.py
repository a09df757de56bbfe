"""Looks at the clips of a recipe before the trainer does, which passes over bad ones in silence."""

from __future__ import annotations

import contextlib
import functools
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xttsreg.errors import InvalidDataset, MissingDependency
from xttsreg.training.clips import check_reference, is_there, length_problem, probe
from xttsreg.training.findings import clips
from xttsreg.training.metadata import check_text
from xttsreg.training.shim import legacy
from xttsreg.training.shim.notes import refusing, tell
from xttsreg.training.shim.plan import Plan
from xttsreg.training.texts import Texts

Samples = list[dict[str, Any]]
_REMOVE = "mend them, or remove their lines from the metadata that the recipe names"
_MARK = "\ufeff"


def check_samples(config: Any, tokenizer: Any, train: Any, evaluation: Any, *, told: bool) -> None:
    """Make sure that there is something to train and to evaluate on, and that every clip opens.

    Args:
        config: Of the trainer, as it will be used.
        tokenizer: Of the model.
        train: Samples, as the recipe gives them to the trainer; looked at if they are a list.
        evaluation: The same.
        told: Say what the trainer will leave out.

    Raises:
        InvalidDataset: a clip cannot be read, or nothing usable is left.
        MissingDependency: texts of a language cannot be read here.
    """
    if not isinstance(train, list):
        return
    judge = _Judge(config.model_args, tokenizer)
    with contextlib.redirect_stdout(io.StringIO()):  # the tokenizer prints about long texts
        usable = judge.count(train)
        checked = judge.count(evaluation) if isinstance(evaluation, list) else 0
    if not usable:
        raise InvalidDataset(
            f"not one of {len(train)} clips can be trained on{judge.reasons()}", hint=_REMOVE
        )
    if config.run_eval and not checked:
        total = len(evaluation) if isinstance(evaluation, list) else 0
        raise InvalidDataset(
            f"not one of {total} clips can be evaluated on{judge.reasons()}: the trainer would "
            "stop after the first epoch",
            hint="give more clips to the evaluation, or set run_eval=False in the recipe",
        )
    if told:
        for reason, count in judge.dropped.items():
            tell(
                f"xttsreg: {clips(count)} {reason}: left out, as the trainer does without saying so"
            )


def patch_datasets(plan: Plan, module: Any) -> None:
    """Look at metadata before a formatter of TTS does, which fails without a line number."""
    legacy.patch_datasets(module)
    plain = module.load_tts_samples

    @functools.wraps(plain)
    def load_tts_samples(datasets: Any, *args: Any, **kwargs: Any) -> Any:
        own = kwargs.get("formatter") or args[1:2] not in ((), (None,))
        found = getattr(datasets, "datasets", datasets)  # coqui-tts takes a whole config
        for dataset in found if isinstance(found, list) else [found]:
            for setting in () if own else ("meta_file_train", "meta_file_val"):
                path = Path(dataset["path"] or "", dataset[setting] or "")
                if path.is_file():
                    with refusing(plan):
                        check_text(path, str(dataset["formatter"]))
        return plain(datasets, *args, **kwargs)

    module.load_tts_samples = load_tts_samples


class _Judge:
    def __init__(self, args: Any, tokenizer: Any) -> None:
        self.dropped: Counter[str] = Counter()
        self._tokenizer = tokenizer
        self._max_tokens = args.max_text_length
        self._max_samples = args.max_wav_length
        # beyond those positions the model itself would fail, in the middle of a step
        self._positions = (args.gpt_max_audio_tokens - 3) * args.gpt_code_stride_len
        self._texts: dict[str, Texts] = {}

    def reasons(self) -> str:
        found = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
        return f" ({found})" if found else ""

    def count(self, samples: Samples) -> int:
        """How many the trainer would take."""
        missing: list[str] = []
        broken: list[str] = []
        usable = 0
        for sample in samples:
            path = Path(str(sample["audio_file"]))
            if not is_there(path):
                missing.append(str(path))
                continue
            try:
                reason = self._problem(sample, path)
            except InvalidDataset as error:
                broken.append(error.message)
                continue
            if reason:
                self.dropped[reason] += 1
            usable += not reason
        _refuse(len(samples), missing, broken)
        return usable

    def _problem(self, sample: dict[str, Any], path: Path) -> str | None:
        clip = probe(path)
        reason = length_problem(clip, self._max_samples)
        reason = reason or self._texts_in(str(sample.get("language"))).problem(sample["text"])
        too_long = length_problem(clip, self._positions)
        if too_long and not reason:
            raise InvalidDataset(
                f"{path}: {too_long}, and the model has no positions for more: the step would fail"
            )
        return reason

    def _texts_in(self, language: str) -> Texts:
        if language not in self._texts:
            self._texts[language] = texts = Texts(None, language, self._max_tokens)
            texts.tokenizer = self._tokenizer
            try:
                texts.problem("1")
            except (ImportError, NotImplementedError, RuntimeError) as error:
                raise MissingDependency(
                    f"texts in {language!r} cannot be read: {error}",
                    extra="train",
                    hint="`xttsreg doctor` says which languages need which packages",
                ) from error
        return self._texts[language]


def _refuse(total: int, missing: list[str], broken: list[str]) -> None:
    if missing:
        hint = _REMOVE
        if _MARK in missing[0]:
            hint = "the metadata begins with a byte order mark: save it as UTF-8 without one"
        name = missing[0].replace(_MARK, "<byte order mark>")
        raise InvalidDataset(
            f"{len(missing)} of {total} clips are missing, first {name}", hint=hint
        )
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise InvalidDataset(broken[0] + more, hint=_REMOVE)


def drop_mute_sentences(config: Any, say: Callable[[str], None] = tell) -> None:
    """Leave out test sentences that cannot be spoken.

    The stock recipe names a clip of its own repository. Without it the first epoch would end in an
    error, and the trainer would remove the run's folder.
    """
    sentences = getattr(config, "test_sentences", None)
    if not isinstance(sentences, list):
        return
    kept = []
    for sentence in sentences:
        problem = _sentence_problem(sentence, config.languages)
        if problem:
            say(f"xttsreg: a test sentence is left out, {problem}")
        else:
            kept.append(sentence)
    config.test_sentences = kept


def _sentence_problem(sentence: Any, languages: Any) -> str | None:
    if not isinstance(sentence, dict) or not {"text", "speaker_wav", "language"} <= set(sentence):
        return "it needs text, speaker_wav and language"
    language = sentence["language"]
    if language not in languages and language != "zh":
        return f"its language {language} is none of {', '.join(languages)}"
    speakers = sentence["speaker_wav"]
    for speaker in (speakers if isinstance(speakers, list) else [speakers]) or [None]:
        if not speaker:
            return "it has no speaker_wav"
        if not is_there(Path(str(speaker))):
            return f"its speaker {speaker} is missing"
        with contextlib.suppress(ImportError):
            try:
                check_reference(Path(str(speaker)))
            except ValueError as error:
                return f"its speaker is of no use: {error}"
    return None
