"""A wheel written so that its bytes follow from its content: on any machine, on any day.

Build tools write their own version, times and an order of their own into a wheel. Files are
stored, not deflated: two zlibs compress the same bytes differently.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from xttsreg.errors import IntegrityError

_DATE = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_GENERATOR = re.compile(rb"^Generator: .*$", re.MULTILINE)
_INFO = re.compile(r"([^/]+\.dist-info)/WHEEL")


def write_wheel(files: Mapping[str, Callable[[], bytes]], target: Path) -> None:
    """Write a wheel.

    Args:
        files: Name in the wheel to the function that reads it; ``RECORD`` is made anew.
        target: The file to make.

    Raises:
        IntegrityError: these are not the files of a wheel.
    """
    found = [match for match in map(_INFO.fullmatch, files) if match]
    if len(found) != 1:
        raise IntegrityError(f"{target.name}: not a wheel, it has no .dist-info/WHEEL")
    info = found[0][1]
    record_name = f"{info}/RECORD"
    names = sorted(set(files) - {record_name}, key=lambda name: (name.startswith(info), name))
    rows: list[tuple[str, str, str]] = []
    with zipfile.ZipFile(target, "w") as archive:
        for name in names:
            data = files[name]()
            if name == f"{info}/WHEEL":
                data = _GENERATOR.sub(b"Generator: xttsreg", data.replace(b"\r\n", b"\n"))
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
            rows.append((name, f"sha256={digest.decode()}", str(len(data))))
            archive.writestr(_entry(name), data)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*rows, (record_name, "", "")])
        archive.writestr(_entry(record_name), text.getvalue().encode("utf-8"))


def repack(wheel: Path, target: Path) -> None:
    """Write a wheel anew, in its one form.

    Raises:
        IntegrityError: it is none.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            write_wheel(
                {entry.filename: lambda e=entry: archive.read(e) for entry in entries},  # type: ignore[misc]
                target,
            )
    except zipfile.BadZipFile as error:
        raise IntegrityError(f"{wheel.name}: {error}") from None


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.create_system = _UNIX
    executable = "/scripts/" in name and ".data/" in name
    entry.external_attr = (0o100755 if executable else 0o100644) << 16
    return entry
