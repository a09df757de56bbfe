"""The clip that tells XTTS whose voice to speak with, and its place in a registered voice."""

from __future__ import annotations

import shutil
from pathlib import Path

from xttsreg.content.modelpack import REFERENCE_FILE
from xttsreg.errors import InvalidInputError


def keep_reference(path: Path, directory: Path) -> Path:
    """Put a speaker clip into a voice's directory; a WAV keeps its bytes, others become one.

    Args:
        path: Any file that `clips.check_reference` accepts.
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
