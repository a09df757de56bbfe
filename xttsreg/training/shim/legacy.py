"""What recipes for TTS 0.22.0 expect, and coqui-tts has moved: they run on both, unmodified."""

from __future__ import annotations

import functools
import inspect
from typing import Any


def patch_names(gpt_trainer: Any) -> None:
    """Give ``gpt_trainer`` the name that the stock recipe imports from there."""
    if not hasattr(gpt_trainer, "XttsAudioConfig"):
        from TTS.tts.models.xtts import XttsAudioConfig

        gpt_trainer.XttsAudioConfig = XttsAudioConfig


def patch_datasets(datasets: Any) -> None:
    """Have ``load_tts_samples`` take a list of datasets where it wants a config that has one."""
    plain = datasets.load_tts_samples
    names = list(inspect.signature(plain).parameters)
    if names[0] == "datasets":
        return

    @functools.wraps(plain)
    def load_tts_samples(datasets: Any, *args: Any, **kwargs: Any) -> Any:
        from TTS.tts.configs.shared_configs import BaseTTSConfig

        if hasattr(datasets, "datasets"):
            return plain(datasets, *args, **kwargs)
        listed = datasets if isinstance(datasets, list) else [datasets]
        given = dict(zip(names[1:], args, strict=False))  # TTS 0.22.0 takes them by position
        return plain(BaseTTSConfig(datasets=listed), **given, **kwargs)

    datasets.load_tts_samples = load_tts_samples
