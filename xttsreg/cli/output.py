"""Printing: data to stdout, everything else to stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from xttsreg.content.units import human_size as human_size


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
    form = "  ".join(f"{{:{'>' if r else '<'}{w}}}" for r, w in zip(right, widths, strict=True))
    click.echo("\n".join(form.format(*line).rstrip() for line in table))


def _text(value: object) -> str:
    return "" if value is None else printable(str(value))


def printable(text: str) -> str:
    """Text without control characters: what comes from a bundle must not steer a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


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
