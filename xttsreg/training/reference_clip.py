"""The clip that tells XTTS whose voice to speak with, and its place in a registered voice."""

from __future__ import annotations

import shutil
from pathlib import Path

from xttsreg.content.modelpack import REFERENCE_FILE
from xttsreg.errors import InvalidInputError

_MIN_SECONDS = 0.5  # shorter pieces give no conditioning at all


def check_reference(path: Path) -> None:
    """Make sure that XTTS can take its speaker from a clip.

    Raises:
        InvalidInputError: absent, not audio, or too short.
    """
    import soundfile

    if not path.is_file():
        raise InvalidInputError(f"{path}: no such speaker clip")
    try:
        seconds = soundfile.info(str(path)).duration
    except soundfile.SoundFileError as error:
        raise InvalidInputError(f"{path}: not readable as audio ({error})") from error
    if seconds < _MIN_SECONDS:
        raise InvalidInputError(f"{path}: {seconds:.2f} s are too short, give 3 s or more")


def keep_reference(path: Path, directory: Path) -> Path:
    """Put a speaker clip into a voice's directory; a WAV keeps its bytes, others become one.

    Args:
        path: Any file that `check_reference` accepts.
        directory: Of the voice.

    Returns:
        Where it is now.
    """
    import soundfile

    target = directory / REFERENCE_FILE
    if soundfile.info(str(path)).format == "WAV":
        shutil.copyfile(path, target)
    else:
        samples, rate = soundfile.read(str(path), dtype="int16")
        soundfile.write(str(target), samples, rate, format="WAV", subtype="PCM_16")
    return target


def find_reference(view: Path, given: Path | None) -> Path:
    """Return the clip that was given, else the voice's own.

    Raises:
        InvalidInputError: there is neither.
    """
    if given is not None:
        return given
    own = view / REFERENCE_FILE
    if not own.is_file():
        raise InvalidInputError(
            "this voice has no reference clip of its own",
            hint="give --speaker-wav WAV; `train --speaker-wav` puts one into the voice",
        )
    return own
