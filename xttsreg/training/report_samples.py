"""The same sentence, spoken before and after: what a report lets people listen to."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xttsreg.training.summary import Example
from xttsreg.training.synth import synthesize

_MAX_SECONDS = 12  # of a clip that is put into the page: a second of WAV takes 64 kB there
_MAX_CHARACTERS = 200  # of a sentence, so that it is spoken in one go
_SEED = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """Something to listen to: a title, one line about it, and the sound as a data URI."""

    title: str
    about: str
    audio: str

    @property
    def wav(self) -> bytes:
        """The sound as a WAV file."""
        return base64.b64decode(self.audio.partition(",")[2])


@dataclass(frozen=True, slots=True)
class Samples:
    """A sentence and its recordings; without any, ``missing`` says why."""

    sentence: str = ""
    unseen: bool = False
    samples: tuple[Sample, ...] = ()
    missing: str = ""


def make_samples(
    base: Path,
    voice: Path,
    example: Example,
    *,
    language: str,
    speaker_wav: Path,
    device: str,
    tell: Callable[[str], None],
) -> Samples:
    """Speak a sentence of the dataset with the base and with the voice.

    Args:
        base: The view that was trained from.
        voice: The files of the voice.
        example: A sentence and its recording.
        language: Of the sentence.
        speaker_wav: Whose voice to speak with, both times.
        device: ``auto``, ``cpu`` or ``cuda``.
        tell: Told what is going on; speaking takes a while on a CPU.

    Raises:
        XttsregError: one of them cannot speak.
    """
    text = example.text[:_MAX_CHARACTERS]
    set_name = "evaluation" if example.unseen else "training"
    originals = [
        Sample("Recording", f"the original, from the {set_name} set", embed(example.audio_file)),
        Sample("Speaker", "the reference clip given to both models", embed(speaker_wav)),
    ]
    samples = []
    with tempfile.TemporaryDirectory(prefix="xttsreg-samples-") as folder:
        for title, view, about in (
            ("Before", base, "the base model"),
            ("After", voice, "the fine-tuned voice"),
        ):
            tell(f"report: speaking a sentence with {about}")
            output = Path(folder) / f"{title}.wav"
            synthesize(
                view, text, language=language, speaker_wav=speaker_wav, output=output,
                seed=_SEED, device=device,
            )  # fmt: skip
            samples.append(Sample(title, f"{about}, seed {_SEED}", embed(output)))
    return Samples(text, example.unseen, (*samples, *originals))


def embed(path: Path) -> str:
    """Return the beginning of a clip as a data URI: 16 bit mono WAV, which every browser plays."""
    import soundfile

    with soundfile.SoundFile(str(path)) as clip:
        rate = int(clip.samplerate)
        samples = clip.read(_MAX_SECONDS * rate, dtype="float32", always_2d=True).mean(axis=1)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
