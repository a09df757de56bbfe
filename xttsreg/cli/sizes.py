"""Sizes on the command line: ``8GB``, ``4GiB``, ``1048576``."""

from __future__ import annotations

import re

import click

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.I)


class Size(click.ParamType[int]):
    """A number of bytes. Decimal units, as sticks are sold; binary ones with an i."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Parse.

        >>> Size().convert("1.5kB", None, None), Size().convert("4GiB", None, None)
        (1500, 4294967296)
        """
        match = _SIZE.fullmatch(str(value).strip())
        if not match or (match[3] and not match[2]):
            self.fail(f"{value!r} is no size; give bytes, or e.g. 8GB or 4GiB", param, ctx)
        base = 1024 if match[3] else 1000
        size_bytes = int(float(match[1]) * base ** ("kmgt".index(match[2].lower()) + 1)
                         if match[2] else float(match[1]))  # fmt: skip
        if size_bytes < 1:
            self.fail("give more than nothing", param, ctx)
        return size_bytes


SIZE = Size()
