"""Writing WAV, 16 bit mono: into a file at once, or into a pipe while it is being spoken."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

_UNKNOWN = 0xFFFFFFFF  # what ffmpeg and others write, and read, where the end is not known yet


def write_wav(path: Path, pieces: Iterable[Any], rate: int) -> int:
    """Write a file; it appears under its name when it is complete.

    Args:
        path: The file.
        pieces: Arrays of samples from -1 to 1.
        rate: In Hz.

    Returns:
        The number of samples.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as out:
            out.write(_header(rate, 0))
            samples = sum(_write(out, piece) for piece in pieces)
            out.seek(0)
            out.write(_header(rate, 2 * samples))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return samples


def stream_wav(sink: BinaryIO, pieces: Iterable[Any], rate: int) -> int:
    """Write each piece as soon as it is there, without going back; else as `write_wav`."""
    sink.write(_header(rate, None))
    samples = 0
    for piece in pieces:
        samples += _write(sink, piece)
        sink.flush()
    return samples


def _write(out: BinaryIO, piece: Any) -> int:
    import numpy as np

    out.write((np.clip(piece, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())
    return len(piece)


def _header(rate: int, data_bytes: int | None) -> bytes:
    """RIFF header; ``data_bytes`` None for an end that is not known yet."""
    size = _UNKNOWN if data_bytes is None else data_bytes
    whole = _UNKNOWN if data_bytes is None else data_bytes + 36
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return (
        struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + form + struct.pack("<4sI", b"data", size)
    )
