"""Looking at single clips: does it open, to its end, and what is in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from xttsreg.errors import InvalidDataset

_BITS = {"PCM_U8": 8, "PCM_S8": 8, "ULAW": 8, "ALAW": 8}  # what is below 16


@dataclass(frozen=True, slots=True)
class Clip:
    """What a sound file is: length in seconds, rate in Hz, bits a sample (16 stands for more)."""

    seconds: float
    sample_rate: int
    channels: int
    bits: int


def probe(path: Path) -> Clip:
    """Open a clip and read its last sample, so that a cut file is noticed.

    Raises:
        InvalidDataset: absent, a directory, no audio, or cut off.
    """
    import soundfile

    if path.is_dir():
        raise InvalidDataset(f"{path}: is a directory, not a clip")
    if not path.is_file():
        raise InvalidDataset(f"{path}: the clip is missing")
    if not path.stat().st_size:
        raise InvalidDataset(f"{path}: the clip is an empty file")
    try:
        with soundfile.SoundFile(str(path)) as clip:
            frames, rate = len(clip), int(clip.samplerate)
            clip.seek(max(0, frames - 1))
            if frames and len(clip.read(1)) != 1:
                raise InvalidDataset(f"{path}: the clip is cut off")
            return Clip(frames / rate, rate, clip.channels, _BITS.get(clip.subtype, 16))
    except soundfile.SoundFileError as error:
        raise InvalidDataset(f"{path}: not readable as audio ({error})") from error


def leaves(path: Path, directory: Path) -> bool:
    """Whether a path lies outside a directory by its name; links are not followed."""
    return not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(directory))
