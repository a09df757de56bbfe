"""Printing: data to stdout, everything else to stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click


def print_json(value: Any) -> None:
    """A JSON value, indented, for programs and curious people."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str]) -> None:
    """Aligned columns that never cut a value off.

    Args:
        rows: Cells by key.
        columns: Key to heading, in order. Numbers are aligned to the right.
    """
    cells = [[_text(row.get(key)) for key in columns] for row in rows]
    table = [list(columns.values()), *cells]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    right = [bool(rows) and isinstance(rows[0].get(key), int) for key in columns]
    for line in table:
        padded = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def _text(value: object) -> str:
    return "" if value is None else printable(str(value))


def printable(text: str) -> str:
    """Text without control characters: what comes from a bundle must not steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def shortened(names: Sequence[str], count: int = 5) -> str:
    """The first few of many names, and how many more there are.

    >>> shortened(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(map(printable, names[:count])) + more


def say(line: str) -> None:
    """One line for people, on stderr."""
    click.echo(line, err=True)


def human_size(size_bytes: int) -> str:
    """A size for people, in powers of ten as disks are sold.

    >>> human_size(1867929118)
    '1.87 GB'
    """
    size, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.5:  # what would be rounded to 1000 gets the next unit
            break
        size, unit = size / 1000, larger
    digits = 0 if unit == "B" or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f} {unit}"
