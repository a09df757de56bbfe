"""Looking at single clips: does it open, to its end, and what is in it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xttsreg.errors import InvalidDataset, InvalidInputError

MODEL_RATE = 22050  # Hz, the rate XTTS resamples clips to
MIN_SECONDS = 0.5  # TTS leaves out what is shorter
_BITS = {"PCM_U8": 8, "PCM_S8": 8, "ULAW": 8, "ALAW": 8}  # what is below 16
_SPEAKER_HINT = "give a clip of the speaker, 3 s or longer"
_FLOATS = ("FLOAT", "DOUBLE")
_UNKNOWN_BYTES = 0x7FFF_0000  # a WAV written to a pipe says this, or more
_MAX_CHUNKS = 64
_BLOCK_FRAMES = 1 << 18


@dataclass(frozen=True, slots=True)
class Clip:
    """What a sound file is: length in seconds, rate in Hz, bits a sample (16 stands for more)."""

    seconds: float
    sample_rate: int
    channels: int
    bits: int


def probe(path: Path) -> Clip:
    """Open a clip and read its last sample, so that a cut file is noticed.

    Floats are read from end to end: a single one that is no number makes the loss none.

    Raises:
        InvalidDataset: absent, a directory, no audio, cut off, or without one sample.
    """
    import soundfile

    _require_bytes(path)
    try:
        with soundfile.SoundFile(str(path)) as clip:
            frames, rate = len(clip), int(clip.samplerate)
            if not frames:
                raise InvalidDataset(f"{path}: the clip has no samples")
            clip.seek(frames - 1)
            if len(clip.read(1)) != 1:
                raise InvalidDataset(f"{path}: the clip is cut off")
            if clip.subtype in _FLOATS:
                _require_numbers(path, clip)
            return Clip(frames / rate, rate, clip.channels, _BITS.get(clip.subtype, 16))
    except soundfile.SoundFileError as error:
        line = str(error).removeprefix(f"Error opening {str(path)!r}: ").strip()
        raise InvalidDataset(f"{path}: not readable as audio ({line})") from error


def is_there(path: Path) -> bool:
    """Whether there is something of this name, as far as this user may look."""
    return os.path.exists(path)  # noqa: PTH110  Path's own raises where it may not look


def _require_bytes(path: Path) -> None:
    """See whether there is a file to read, and all of it."""
    if not is_there(path):
        raise InvalidDataset(f"{path}: the clip is missing")
    if path.is_dir():
        raise InvalidDataset(f"{path}: is a directory, not a clip")
    if not path.is_file():  # a pipe would be waited for
        raise InvalidDataset(f"{path}: is no regular file")
    try:
        size_bytes = path.stat().st_size
        if not size_bytes:
            raise InvalidDataset(f"{path}: the clip is an empty file")
        needed_bytes = _announced_bytes(path)
    except OSError as error:
        raise InvalidDataset(f"{path}: cannot be read ({error.strerror})") from error
    if size_bytes < needed_bytes:
        raise InvalidDataset(
            f"{path}: the clip is cut off, {size_bytes} of {needed_bytes} bytes are there"
        )


def _announced_bytes(path: Path) -> int:
    """How long a WAV must be by its own header; 0 if it does not say, or is something else.

    libsndfile takes what is there for the whole, and the text would no longer fit.
    """
    with path.open("rb") as stream:
        head = stream.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0
        for _ in range(_MAX_CHUNKS):
            chunk = stream.read(8)
            if len(chunk) < 8:
                return 0
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                return 0 if length >= _UNKNOWN_BYTES else stream.tell() + length
            stream.seek(length + length % 2, os.SEEK_CUR)
    return 0


def _require_numbers(path: Path, clip: Any) -> None:
    import numpy as np

    clip.seek(0)
    for block in clip.blocks(_BLOCK_FRAMES, dtype="float32"):
        if not np.isfinite(block).all():
            raise InvalidDataset(f"{path}: the clip holds values that are no numbers")


def length_problem(clip: Clip, max_samples: int) -> str | None:
    """Why the trainer would leave a clip out, as the end of "3 clips ..."; None if it would not.

    Args:
        clip: The clip.
        max_samples: What the model takes, at its own rate.
    """
    if clip.seconds < MIN_SECONDS:
        return f"shorter than {MIN_SECONDS} s"
    if math.ceil(clip.seconds * MODEL_RATE) > max_samples:
        return f"longer than {max_samples / MODEL_RATE:.1f} s"
    return None


def leaves(path: Path, directory: Path) -> bool:
    """Whether a path lies outside a directory by its name; links are not followed."""
    return not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(directory))


def check_reference(path: Path) -> None:
    """Make sure that XTTS can take its speaker from a clip.

    Raises:
        InvalidInputError: absent, not audio, or too short.
    """
    import soundfile

    if not path.is_file():
        raise InvalidInputError(f"{path}: no such speaker clip", hint=_SPEAKER_HINT)
    try:
        seconds = soundfile.info(str(path)).duration
    except soundfile.SoundFileError as error:
        raise InvalidInputError(f"{path}: not readable as audio", hint=_SPEAKER_HINT) from error
    if seconds < MIN_SECONDS:
        raise InvalidInputError(f"{path}: {seconds:.2f} s are too short", hint=_SPEAKER_HINT)
