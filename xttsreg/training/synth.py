"""Speak a text with a weight set or a voice."""

from __future__ import annotations

import os
import wave
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xttsreg.content.checkpoint import require_safe
from xttsreg.errors import IntegrityError, InvalidInputError, InvalidModel
from xttsreg.training.checkpoint import safe_loading
from xttsreg.training.environment import prepare_environment, require_training
from xttsreg.training.guard import offline_guard
from xttsreg.training.languages import supported_languages
from xttsreg.training.session import quiet

_FILES = ("model.pth", "config.json", "vocab.json")
_MIN_REFERENCE_SECONDS = 0.5  # shorter pieces give no conditioning at all


@dataclass(frozen=True, slots=True)
class SynthResult:
    """What was written: length in seconds, rate in Hz."""

    output: Path
    seconds: float
    sample_rate: int
    device: str
    seed: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON types."""
        return {**asdict(self), "output": str(self.output)}


def synthesize(
    view: Path,
    text: str,
    *,
    language: str,
    speaker_wav: Path,
    output: Path,
    seed: int | None = None,
    device: str = "auto",
) -> SynthResult:
    """Write a WAV of a spoken text. Nothing beyond loopback can be reached meanwhile.

    Args:
        view: Directory with model.pth, config.json and vocab.json.
        text: What to say; long texts are split into sentences.
        language: Code, e.g. ``en``.
        speaker_wav: Clip of the voice to speak with, best 3 seconds or more.
        output: The WAV, 16 bit mono, 24000 Hz.
        seed: Makes the result repeatable; ``None`` for a new one each time.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        What was written.

    Raises:
        InvalidInputError: no text, an unknown language, an unusable speaker clip or device.
        InvalidModel: the view lacks a file.
        IntegrityError: the files do not fit together.
    """
    require_training()
    _check_input(view, text, language, speaker_wav)
    prepare_environment(device)
    if not output.parent.is_dir():
        raise InvalidInputError(f"{output.parent}: no such directory to write into")
    log = output.with_name(f".{output.name}.log")
    try:
        with quiet(log), offline_guard():
            chosen = _choose_device(device)
            model, config = _load(view, chosen)
            samples, rate = _speak(model, config, text, language, speaker_wav, seed)
    finally:
        log.unlink(missing_ok=True)
    _write_wav(output, samples, rate)
    return SynthResult(output, round(len(samples) / rate, 3), rate, chosen, seed)


def _check_input(view: Path, text: str, language: str, speaker_wav: Path) -> None:
    missing = [name for name in _FILES if not (view / name).is_file()]
    if missing:
        raise InvalidModel(f"{view} cannot speak: no {', '.join(missing)}")
    if not text.strip():
        raise InvalidInputError("there is no text to speak")
    known = supported_languages(view)
    if language not in known and not (language == "zh" and "zh-cn" in known):
        raise InvalidInputError(
            f"the model does not speak {language!r}", hint=f"it speaks {', '.join(known)}"
        )
    if not speaker_wav.is_file():
        raise InvalidInputError(f"{speaker_wav}: no such speaker clip")
    import soundfile

    try:
        seconds = soundfile.info(str(speaker_wav)).duration
    except soundfile.SoundFileError as error:
        raise InvalidInputError(f"{speaker_wav}: not readable as audio ({error})") from error
    if seconds < _MIN_REFERENCE_SECONDS:
        raise InvalidInputError(f"{speaker_wav}: {seconds:.2f} s are too short, give 3 s or more")


def _choose_device(device: str) -> str:
    import torch

    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InvalidInputError("no usable GPU: torch sees none", hint="use --device cpu")
    return "cuda" if available and device != "cpu" else "cpu"


def _load(view: Path, device: str) -> tuple[Any, Any]:
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.models.xtts import Xtts

    for name in ("model.pth", "speakers_xtts.pth"):
        if (view / name).is_file():
            require_safe(view / name)
    config = XttsConfig()
    try:
        config.load_json(str(view / "config.json"))
        model = Xtts.init_from_config(config)
        with safe_loading():
            model.load_checkpoint(config, checkpoint_dir=str(view), eval=True, strict=True)
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        lines = " ".join(str(error).split())[:200]
        raise IntegrityError(
            f"{view}: model.pth, config.json and vocab.json do not fit together: {lines}"
        ) from error
    model.to(device)
    return model, config


def _speak(
    model: Any, config: Any, text: str, language: str, speaker_wav: Path, seed: int | None
) -> tuple[Any, int]:
    import torch

    if seed is not None:
        torch.manual_seed(seed)
    if torch.get_num_threads() == 1 and "OMP_NUM_THREADS" not in os.environ:
        # TTS's training code sets one thread for the whole process as soon as it is imported
        torch.set_num_threads(os.cpu_count() or 1)
    limit = model.tokenizer.char_limits.get(language.split("-")[0])
    code = "zh-cn" if language == "zh" else language  # stock takes zh and then misses it
    spoken = model.synthesize(
        text.strip(),
        config,
        str(speaker_wav),
        code,
        # stock looks the limit up under the full code, which fails for zh-cn and hi
        enable_text_splitting=code in model.tokenizer.char_limits and len(text) >= (limit or 0),
    )
    return spoken["wav"], int(config.audio.output_sample_rate)


def _write_wav(path: Path, samples: Any, rate: int) -> None:
    import numpy as np

    pcm = (np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")
    partial = path.with_name(f".{path.name}.partial")
    try:
        with wave.open(str(partial), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(rate)
            out.writeframes(pcm.tobytes())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
