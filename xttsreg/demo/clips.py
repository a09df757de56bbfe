"""A small made-up dataset: voiced sounds that glide between vowels, with sentences of our own.

Nobody speaks here. A pulse train with a moving pitch goes through three moving resonators, which
is enough like speech for a trainer. Standard library only.
"""

from __future__ import annotations

import array
import math
import random
import sys
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path

SAMPLE_RATE = 22050  # Hz
REFERENCE_SECONDS = 4.0
_SHORTEST, _LONGEST = 1.5, 3.0  # seconds
_BLOCK = 110  # samples between two settings of the resonators, 5 ms

_VOWELS = (  # resonances in Hz
    (730.0, 1090.0, 2440.0),
    (270.0, 2290.0, 3010.0),
    (300.0, 870.0, 2240.0),
    (530.0, 1840.0, 2480.0),
    (570.0, 840.0, 2410.0),
)
_BANDWIDTHS = (80.0, 100.0, 140.0)  # Hz
_GAINS = (1.0, 0.6, 0.3)

_WHO = ("The old baker", "My neighbour", "A small grey cat", "The night train", "Her brother")
_DOES = ("waits for", "walks around", "has found", "keeps", "dreams of", "looks after", "forgot")
_WHAT = ("the harbour", "a wooden box", "seven lamps", "the gate", "warm bread", "the bridge")


def make_dataset(directory: Path, *, clips: int = 12, seed: int = 0) -> None:
    """Write a dataset in the LJSpeech layout; the same arguments give the same bytes.

    ``metadata.csv`` has id, text and normalised text; ``wavs/`` has 16-bit mono clips of 1.5 to
    3 seconds at 22050 Hz; ``reference.wav`` is 4 seconds of the same voice.

    Args:
        directory: Where to; made if it is not there.
        clips: How many clips.
        seed: Of voices and sentences.
    """
    wavs = directory / "wavs"
    wavs.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    lines = []
    for number in range(1, clips + 1):
        text = sentence(number - 1)
        seconds = min(_LONGEST, max(_SHORTEST, 0.06 * len(text) + rng.uniform(-0.2, 0.2)))
        name = f"clip_{number:04d}"
        write_clip(wavs / f"{name}.wav", seconds=seconds, rng=rng)
        lines.append(f"{name}|{text}|{text}\n")
    write_clip(directory / "reference.wav", seconds=REFERENCE_SECONDS, rng=rng)
    (directory / "metadata.csv").write_text("".join(lines), encoding="utf-8", newline="\n")


def sentence(number: int) -> str:
    """Return one of 210 short sentences; the first 210 numbers give different ones.

    >>> sentence(0)
    'The old baker waits for the harbour.'
    """
    who = _WHO[number % len(_WHO)]
    does = _DOES[number % len(_DOES)]
    return f"{who} {does} {_WHAT[number % len(_WHAT)]}."


def write_clip(path: Path, *, seconds: float, rng: random.Random) -> None:
    """Write one mono 16-bit WAV.

    Args:
        path: Where to.
        seconds: Length.
        rng: Source of pitch and vowels.
    """
    samples = array.array("h", _voice(round(seconds * SAMPLE_RATE), rng))
    if sys.byteorder == "big":
        samples.byteswap()  # WAV is little endian
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(samples.tobytes())


def _voice(length: int, rng: random.Random) -> Iterator[int]:
    """Yield 16-bit samples of a voice that says a chain of vowels."""
    base, drift = rng.uniform(100.0, 180.0), rng.uniform(0.5, 1.5)
    path = [rng.choice(_VOWELS) for _ in range(2 + length // (SAMPLE_RATE // 4))]
    state = [[0.0, 0.0] for _ in _BANDWIDTHS]
    phase = 0.0
    for start in range(0, length, _BLOCK):
        place = start / length
        pitch = base * (1.0 + 0.2 * math.sin(2 * math.pi * drift * place) - 0.15 * place)
        filters = _resonators(path, place)
        loudness = _loudness(start, length)
        for _ in range(min(_BLOCK, length - start)):
            phase += pitch / SAMPLE_RATE
            pulse = rng.uniform(-0.02, 0.02)  # breath
            if phase >= 1.0:
                phase -= 1.0
                pulse += 1.0
            total = 0.0
            for (gain, one, two), last in zip(filters, state, strict=True):
                value = gain * pulse + one * last[0] - two * last[1]
                last[1], last[0] = last[0], value
                total += value
            yield max(-32767, min(32767, int(9000.0 * loudness * total)))


def _resonators(
    path: Sequence[tuple[float, float, float]], place: float
) -> list[tuple[float, float, float]]:
    """Return gain and two feedback factors of each resonator, at a place from 0 to 1."""
    along = place * (len(path) - 1)
    index = min(int(along), len(path) - 2)
    share = along - index
    result = []
    for left, right, width, gain in zip(
        path[index], path[index + 1], _BANDWIDTHS, _GAINS, strict=True
    ):
        centre = left + (right - left) * share
        radius = math.exp(-math.pi * width / SAMPLE_RATE)
        factor = 2.0 * radius * math.cos(2 * math.pi * centre / SAMPLE_RATE)
        result.append((gain, factor, radius * radius))
    return result


def _loudness(start: int, length: int) -> float:
    """Fade in and out over 50 ms, with about four syllables a second between."""
    edge = 0.05 * SAMPLE_RATE
    fade = min(1.0, start / edge, (length - start) / edge)
    syllables = 0.6 + 0.4 * math.sin(2 * math.pi * 4.0 * start / SAMPLE_RATE) ** 2
    return fade * syllables
