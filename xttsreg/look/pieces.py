"""The few pieces of HTML that pages are made of; every text goes through `escape` here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

__all__ = [
    "code", "duration", "escape", "facts", "figures", "fold", "many", "notes", "tiles",
]  # fmt: skip

Html = str


def code(text: str) -> Html:
    """Something to be copied: a digest, a reference."""
    return f'<span class="mono">{escape(text)}</span>'


def tiles(rows: Iterable[tuple[str, str, str]]) -> Html:
    """Headline figures: label, figure, and a line about it."""
    return "".join(
        f'<div><dt>{escape(label)}</dt><dd><span class="figure">{escape(figure)}</span>'
        f'<span class="about">{escape(about)}</span></dd></div>'
        for label, figure, about in rows
    )


def facts(caption: str, rows: Mapping[str, Html | None]) -> Html:
    """A table of names and values; the values are HTML, and empty ones are left out."""
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{value}</td></tr>'
        for name, value in rows.items()
        if value
    )
    return f'<table class="facts"><caption>{escape(caption)}</caption><tbody>{body}</tbody></table>'


def figures(
    caption: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    total: Sequence[str] = (),
) -> Html:
    """A table of figures; the first column names the rows."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings)
    body = "".join(map(_row, rows))
    foot = f"<tfoot>{_row(total)}</tfoot>" if total else ""
    return (
        f'<table class="figures"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table>"
    )


def _row(cells: Sequence[str]) -> Html:
    rest = "".join(f"<td>{escape(cell)}</td>" for cell in cells[1:])
    return f'<tr><th scope="row">{escape(cells[0])}</th>{rest}</tr>'


def notes(lines: Iterable[str]) -> Html:
    """A list of warnings; nothing if there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="notes">{items}</ul>' if items else ""


def fold(summary: str, content: Html) -> Html:
    """Something that is there, but not in the way."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def duration(seconds: float) -> str:
    """A length of time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def many(count: int, what: str) -> str:
    """A number of things."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
