"""Speak a text with a weight set or a voice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from xttsreg.content.checkpoint import require_safe
from xttsreg.content.cores import cores
from xttsreg.errors import IntegrityError, InvalidInputError, InvalidModel
from xttsreg.training.checkpoint import safe_loading
from xttsreg.training.clips import check_reference
from xttsreg.training.environment import no_gpu_hint, prepare_environment, require_training
from xttsreg.training.guard import offline_guard
from xttsreg.training.languages import supported_languages
from xttsreg.training.packages import require_language
from xttsreg.training.reference_clip import find_reference
from xttsreg.training.session import quiet
from xttsreg.training.wav import stream_wav, write_wav

_FILES = ("model.pth", "config.json", "vocab.json")
_MAX_CHARACTERS = 250  # of one piece, for languages that TTS has no figure for


@dataclass(frozen=True, slots=True)
class SynthResult:
    """What was written: length in seconds, rate in Hz; no ``output`` for a stream."""

    output: Path | None
    seconds: float
    sample_rate: int
    device: str
    seed: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON types."""
        return {**asdict(self), "output": str(self.output or "-")}


def synthesize(
    view: Path,
    text: str,
    *,
    language: str,
    output: Path | BinaryIO,
    speaker_wav: Path | None = None,
    seed: int | None = None,
    device: str = "auto",
) -> SynthResult:
    """Write a WAV of a spoken text. Nothing beyond loopback can be reached meanwhile.

    Args:
        view: Directory with model.pth, config.json and vocab.json.
        text: What to say; long texts are spoken in pieces of whole sentences.
        language: Code, e.g. ``en``.
        output: The WAV, 16 bit mono, 24000 Hz; or a binary stream, which gets each piece when
            it has been spoken.
        speaker_wav: Clip of the voice to speak with, best 3 seconds or more; ``None`` for the
            view's own.
        seed: Makes the result repeatable; ``None`` for a new one each time.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        What was written.

    Raises:
        InvalidInputError: no text, an unknown language, an unusable speaker clip or device.
        InvalidModel: the view lacks a file.
        IntegrityError: the files do not fit together.
        MissingDependency: the language needs a package that is not installed.
    """
    require_training()
    _check_input(view, text, language)
    speaker = find_reference(view, speaker_wav)
    check_reference(speaker)
    prepare_environment(device)
    path = output if isinstance(output, Path) else None
    if path and not path.parent.is_dir():
        raise InvalidInputError(f"{path.parent}: no such directory to write into")
    log = path.with_name(f".{path.name}.log") if path else Path(os.devnull)
    try:
        with quiet(log), offline_guard(), _all_cores():
            chosen = _choose_device(device)
            model, config = _load(view, chosen)
            pieces = _speak(model, config, text, language, speaker, seed)
            rate = int(config.audio.output_sample_rate)
            if isinstance(output, Path):
                samples = write_wav(output, pieces, rate)
            else:
                samples = stream_wav(output, pieces, rate)
    finally:
        if path:
            log.unlink(missing_ok=True)
    return SynthResult(path, round(samples / rate, 3), rate, chosen, seed)


def _check_input(view: Path, text: str, language: str) -> None:
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
    require_language(language)


def _choose_device(device: str) -> str:
    import torch

    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InvalidInputError("no usable GPU: torch sees none", hint=no_gpu_hint())
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


@contextmanager
def _all_cores() -> Iterator[None]:
    """Undo that TTS's training code sets one thread for the whole process when it is imported."""
    import torch

    before = torch.get_num_threads()
    if before == 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)  # a training run in this process must repeat to the last bit


def _speak(
    model: Any, config: Any, text: str, language: str, speaker: Path, seed: int | None
) -> Iterator[Any]:
    """Yield the samples piece by piece; the steps of stock's ``Xtts.synthesize``."""
    import torch

    if seed is not None:
        torch.manual_seed(seed)
    latents = model.get_conditioning_latents(
        audio_path=str(speaker),
        gpt_cond_len=config.gpt_cond_len,
        gpt_cond_chunk_len=config.gpt_cond_chunk_len,
        max_ref_length=config.max_ref_len,
        sound_norm_refs=config.sound_norm_refs,
    )
    names = ("temperature", "length_penalty", "repetition_penalty", "top_k", "top_p")
    settings = {name: getattr(config, name) for name in names}
    for piece in _pieces(text.strip(), language.split("-")[0], model.tokenizer.char_limits):
        tokens = len(model.tokenizer.encode(piece.lower(), language))
        if tokens >= model.args.gpt_max_text_tokens:
            raise InvalidInputError(
                f"too long to be spoken at once, {tokens} tokens: {piece[:40]!r} ...",
                hint="put a full stop into it",
            )
        yield model.inference(piece, language, *latents, **settings)["wav"]


def _pieces(text: str, language: str, limits: dict[str, int]) -> list[str]:
    """Split a text at the ends of sentences, as stock does; it does not for zh-cn and hi."""
    from TTS.tts.layers.xtts.tokenizer import split_sentence

    pieces = split_sentence(text, language, limits.get(language, _MAX_CHARACTERS))
    return [piece for piece in pieces if piece.strip()]
