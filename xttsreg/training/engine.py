"""The two engines, and the one place that knows how they differ.

Coqui's TTS 0.22.0 and its maintained fork coqui-tts have the same import names and one XTTS
trainer. Which of them is here is read from the names of the installed packages: importing either
takes seconds.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from xttsreg.content.checkpoint import CONFIG_CLASSES
from xttsreg.errors import MissingDependency
from xttsreg.training.shim.imports import after_import

_MODULES = ("torch", "torchaudio", "TTS", "trainer")
_LAST_GPU = 9  # major compute capability that torch 2.5.1 has code for
_ARGUMENTS = "TTS.tts.models.xtts"  # where both have XttsArgs and XttsAudioConfig


@dataclass(frozen=True, slots=True, eq=False)  # one of each: a key for tables
class Engine:
    """One of the two.

    Attributes:
        extra: Of xttsreg, that installs it.
        tts: The distribution that has the module ``TTS``.
        trainer: The distribution that has the module ``trainer``.
        pythons: The first and the last version of Python that it runs on.
        languages: What its tokenizer imports beyond its own requirements: any one module of each
            group.
    """

    extra: str
    tts: str
    trainer: str
    pythons: tuple[tuple[int, int], tuple[int, int]]
    languages: Mapping[str, tuple[tuple[str, ...], ...]]

    @property
    def name(self) -> str:
        """For people, with its version, e.g. ``TTS 0.22.0``."""
        return f"{self.tts} {version_of(self.tts) or ''}".strip()

    @property
    def constrained(self) -> str:
        """The command that installs the tested environment."""
        return f"pip install -c constraints/{self.extra}.txt 'xttsreg[{self.extra}]'"


# Japanese goes through cutlet, which brings fugashi and wants a dictionary; the mecab-python3 of
# TTS's own extra is not used. TTS 0.22.0 imports Chinese and Korean for every language.
_JAPANESE = (("cutlet",), ("unidic_lite", "unidic"))
STOCK = Engine(
    extra="train",
    tts="TTS",
    trainer="trainer",
    pythons=((3, 11), (3, 11)),
    languages={"ja": _JAPANESE, "zh": (("pypinyin",),), "ko": (("hangul_romanize",),)},
)
NEXT = Engine(
    extra="train-next",
    tts="coqui-tts",
    trainer="coqui-tts-trainer",
    pythons=((3, 12), (3, 14)),
    languages={"ja": _JAPANESE, "zh": (("pypinyin",),), "ko": (("ko_speech_tools",),)},
)
ENGINES = (STOCK, NEXT)


def find_engine() -> Engine | None:
    """Return the engine that is installed, whether or not it works; None if there is none."""
    return next((engine for engine in ENGINES if version_of(engine.tts)), None)


def suggested(*, python: tuple[int, int] | None = None, gpu: str = "") -> Engine:
    """Return the engine to install.

    Args:
        python: Version, by default this one's.
        gpu: Compute capability as nvidia-smi has it, e.g. ``12.0``; empty without one.

    >>> suggested(python=(3, 12)).extra, suggested(python=(3, 11), gpu="12.0").extra
    ('train-next', 'train-next')
    >>> suggested(python=(3, 11), gpu="9.0").extra
    'train'
    """
    major = gpu.partition(".")[0]
    is_known = not major.isdigit() or int(major) <= _LAST_GPU
    here = python or sys.version_info[:2]
    return STOCK if here <= STOCK.pythons[1] and is_known else NEXT


def require_engine() -> Engine:
    """Return the engine that is installed, if it can be imported.

    Raises:
        MissingDependency: none, both, a part of one, or one that does not run on this Python.
    """
    found, here = find_engine(), sys.version_info[:2]
    engine = found or suggested()
    first, last = engine.pythons
    if found is None and first <= here <= last:
        what = "TTS" if engine is STOCK else "coqui-tts, the engine for Python 3.12 and newer,"
        raise _missing(engine, f"training needs {what} which this Python does not have")
    if all(version_of(one.tts) for one in ENGINES):
        raise _missing(
            engine,
            "both TTS and coqui-tts are installed: they have overwritten each other's files",
            "make a new virtual environment with one of xttsreg[train] and xttsreg[train-next]",
        )
    if not first <= here <= last:
        raise _missing(
            engine,
            f"{engine.name} needs Python {_span(first, last)}, this is {_dotted(here)}",
            f"make a virtual environment with another Python, or with 'xttsreg[{NEXT.extra}]'",
        )
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise _missing(
            engine, f"training needs {', '.join(missing)}, which this Python does not have"
        )
    return engine


def version_of(distribution: str) -> str | None:
    """Return the version of a distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _missing(engine: Engine, message: str, hint: str | None = None) -> MissingDependency:
    return MissingDependency(message, extra=engine.extra, hint=hint)


def _span(first: tuple[int, int], last: tuple[int, int]) -> str:
    return _dotted(first) if first == last else f"{_dotted(first)} to {_dotted(last)}"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


# --- what of TTS and trainer is in another place, or has another form ----------------------------


def config_classes(names: tuple[str, ...] = CONFIG_CLASSES) -> list[Any]:
    """Return what ``torch.serialization.safe_globals`` wants for classes that upstream pickles.

    The fork has moved two of them, and the name in the file is the old one.
    """
    found: list[Any] = []
    for name in names:
        module, _, attribute = name.rpartition(".")
        kind = getattr(importlib.import_module(module), attribute)
        found.append(kind if kind.__module__ == module else (kind, name))
    return found


@contextmanager
def upstream_names() -> Iterator[None]:
    """Have the config classes pickled under the names that upstream's model.pth has."""
    module = importlib.import_module(_ARGUMENTS)
    kinds = (module.XttsArgs, module.XttsAudioConfig)
    before = [kind.__module__ for kind in kinds]
    for kind in kinds:
        kind.__module__ = _ARGUMENTS
    try:
        yield
    finally:
        for kind, name in zip(kinds, before, strict=True):
            kind.__module__ = name


def trainer_audio_config() -> Any:
    """Return the class for ``GPTTrainerConfig.audio``: TTS 0.22.0 has one for the trainer alone."""
    trainer = importlib.import_module("TTS.tts.layers.xtts.trainer.gpt_trainer")
    if hasattr(trainer, "XttsAudioConfig"):
        return trainer.XttsAudioConfig
    return importlib.import_module(_ARGUMENTS).XttsAudioConfig


def sole(value: Any) -> Any:
    """Return a trainer's optimizer or scheduler: the fork keeps a list of them, XTTS has one."""
    return value[0] if isinstance(value, list) else value


def parameters(trainer: Any) -> list[Any]:
    """Return what a ``trainer.Trainer`` trains, in its optimizer's order."""
    groups = sole(trainer.optimizer).param_groups
    return [parameter for group in groups for parameter in group["params"]]


def train_loader(trainer: Any) -> Any:
    """Have a ``trainer.Trainer`` make the data loader that it makes in its first epoch."""
    if hasattr(trainer, "training_assets"):
        return trainer.get_train_dataloader(
            trainer.training_assets, trainer.train_samples, verbose=True
        )
    return trainer.get_train_dataloader(trainer.train_samples, verbose=True)


@functools.cache
def prepare() -> None:
    """Set right what an engine does to every user of it, when it comes to be imported."""
    after_import({"torchaudio": read_audio_without_codec})


def read_audio_without_codec(torchaudio: Any) -> None:
    """Have ``torchaudio.load`` read with soundfile where it would need FFmpeg's libraries.

    From 2.9 on it hands everything to torchcodec, which does not even read a WAV without FFmpeg
    on the machine. What soundfile cannot read still goes there. The samples are the same.

    Args:
        torchaudio: The module; patched once.
    """
    plain = torchaudio.load
    numbers = [int(part) for part in torchaudio.__version__.split(".")[:2]]
    if numbers < [2, 9] or getattr(plain, "reads_with_soundfile", False):
        return
    import soundfile
    import torch

    def load(
        uri: Any, frame_offset: int = 0, num_frames: int = -1, *args: Any, **kwargs: Any
    ) -> Any:
        if args or kwargs:
            return plain(uri, frame_offset, num_frames, *args, **kwargs)
        try:
            samples, rate = soundfile.read(
                uri, frames=num_frames, start=frame_offset, dtype="float32", always_2d=True
            )
        except (soundfile.SoundFileError, TypeError):
            return plain(uri, frame_offset, num_frames)
        return torch.from_numpy(samples.T.copy()), rate

    load.reads_with_soundfile = True  # type: ignore[attr-defined]
    torchaudio.load = load
