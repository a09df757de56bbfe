"""Reading a metadata file: what is wrong with the text itself, then through TTS's formatter.

TTS's formatters are terse about bad files: an index error without a line number, or clips that are
left out with a line on the standard output. Here the cause has a name and a line.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xttsreg.errors import InvalidDataset
from xttsreg.training.findings import Finding
from xttsreg.training.options import TrainOptions

_LJSPEECH_COLUMNS = 3
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_WRITE_LINES = "write one line a clip, or name another file with --metadata"
_TO_UTF8 = "convert it: iconv -f latin1 -t utf-8, or whatever it was written in"

Samples = list[dict[str, Any]]


def known_formatters() -> list[str]:
    """Return the names of the formatters that TTS has."""
    from TTS.tts.datasets import formatters

    return sorted(
        name
        for name, function in inspect.getmembers(formatters, inspect.isfunction)
        if function.__module__ == formatters.__name__
        and next(iter(inspect.signature(function).parameters), "") == "root_path"
        and not name.startswith("_")
    )


def require_formatter(name: str) -> Callable[..., Samples]:
    """Return a formatter of TTS.

    Raises:
        InvalidDataset: it has none of this name.
    """
    from TTS.tts.datasets import formatters

    known = known_formatters()
    if name.lower() not in known:
        raise InvalidDataset(f"unknown formatter {name!r}", hint=f"TTS knows {', '.join(known)}")
    function: Callable[..., Samples] = getattr(formatters, name.lower())
    return function


def read_samples(options: TrainOptions, metadata: str) -> tuple[Samples, list[Finding]]:
    """Read one metadata file as TTS would, and say what is odd about it.

    Args:
        options: Which dataset and formatter.
        metadata: Name of the file within the dataset; for some formatters a directory.

    Returns:
        TTS's samples, and what is noteworthy but harmless.

    Raises:
        InvalidDataset: it cannot be read; names the line where there is one.
    """
    from TTS.tts.datasets import add_extra_keys

    formatter = require_formatter(options.formatter)
    path = options.dataset / metadata
    findings = check_text(path, options.formatter) if path.is_file() else []
    if not path.exists():
        raise InvalidDataset(
            f"{path}: no such metadata file",
            hint="name another one with --metadata, or another --formatter",
        )
    try:
        samples = formatter(str(options.dataset), metadata, ignored_speakers=None)
    except (UnicodeDecodeError, LookupError, ValueError, AssertionError, OSError) as error:
        raise InvalidDataset(
            f"{path}: the formatter {options.formatter} cannot read it: {error!r}",
            hint="is it the right --formatter? the documentation of TTS shows each one's columns",
        ) from error
    if not samples:
        raise InvalidDataset(f"{path}: no clips in it", hint=_WRITE_LINES)
    if options.formatter.lower() == "coqui":
        findings += _left_out(path, len(samples))
    _refuse_mark(path, samples)
    return add_extra_keys(samples, options.language, options.dataset.name), findings


def check_text(path: Path, formatter: str) -> list[Finding]:
    """Check what can be seen without TTS: encoding, line ends, columns.

    Raises:
        InvalidDataset: not UTF-8, or a column is missing.
    """
    raw = path.read_bytes()
    lines = _decoded(path, raw).split("\n")
    findings = []
    if raw.startswith(_BOM):
        findings.append(_mark(path))
    if b"\r\n" in raw:
        findings.append(Finding("metadata", f"{path.name} has CRLF line ends; TTS reads them well"))
    if formatter.lower() == "ljspeech":
        findings += _check_ljspeech(path, lines)
    if formatter.lower() == "coqui":
        _check_header(path, lines[0])
    return findings


def _mark(path: Path) -> Finding:
    return Finding(
        "metadata",
        "the metadata begins with a byte order mark",
        f"save it as UTF-8 without one: sed -i '1s/^\\xEF\\xBB\\xBF//' {path}",
    )


def _decoded(path: Path, raw: bytes) -> str:
    if raw.startswith(_UTF16):
        raise InvalidDataset(
            f"{path}: UTF-16, TTS reads UTF-8",
            hint=f"iconv -f utf-16 -t utf-8 {path} > {path.stem}-utf8{path.suffix}",
        )
    try:
        return raw.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidDataset(
            f"{path}, line {line}: byte 0x{raw[error.start]:02x} is not UTF-8", hint=_TO_UTF8
        ) from error


def _check_ljspeech(path: Path, lines: list[str]) -> list[Finding]:
    body = lines[:-1] if lines[-1] == "" else lines
    longer = 0
    for number, line in enumerate(body, start=1):
        columns = line.count("|") + 1
        if columns < _LJSPEECH_COLUMNS:
            what = _columns(columns) if line.strip() else "an empty line"
            raise InvalidDataset(
                f"{path}, line {number}: {what}, ljspeech wants id|text|normalised text",
                hint=_mend_columns(line, columns),
            )
        longer += columns > _LJSPEECH_COLUMNS
    if not longer:
        return []
    return [
        Finding(
            "metadata",
            f"{longer} lines have more than 3 columns: TTS reads the third, and drops the rest",
            "a | in a text cuts it off; replace it",
        )
    ]


def _columns(count: int) -> str:
    return "one column" if count == 1 else f"{count} columns"


def _mend_columns(line: str, columns: int) -> str:
    """What to do about a line with too few columns, by the usual reasons."""
    if not line.strip():
        return "remove the line"
    if columns > 1:
        return "write the text once more as the third column, or name another formatter"
    found = next((name for mark, name in ((",", "commas"), ("\t", "tabs")) if mark in line), "")
    used = f", not by {found}" if found else ""
    return f"separate the columns by |{used}, or name another formatter"


def _check_header(path: Path, line: str) -> None:
    names = [name.strip('"') for name in line.removeprefix("\ufeff").split("|")]
    missing = [name for name in ("audio_file", "text") if name not in names]
    if missing:
        raise InvalidDataset(
            f"{path}, line 1: no column {' and '.join(missing)}",
            hint="the coqui formatter wants the header audio_file|text|speaker_name",
        )


def _left_out(path: Path, samples: int) -> list[Finding]:
    """This formatter leaves out clips that are not there, with a line on stdout at most."""
    rows = sum(1 for line in path.read_text("utf-8").split("\n")[1:] if line.strip())
    if rows <= samples:
        return []
    return [
        Finding(
            "metadata",
            f"{rows - samples} of {rows} lines give no clip, and TTS leaves them out",
            "their files are missing, or a lone quotation mark swallows the lines after it",
        )
    ]


def _refuse_mark(path: Path, samples: Samples) -> None:
    """A byte order mark that got into a file's name or a text: that clip would never load."""
    first = samples[0]
    if "\ufeff" in f"{first['audio_file']}{first['text']}":
        mark = _mark(path)
        raise InvalidDataset(f"{path}: {mark.message}, TTS takes it for text", hint=mark.action)
