"""What all pages have around them."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from string import Template

import xttsreg
from xttsreg.look import style
from xttsreg.look.pieces import Html, escape
from xttsreg.serve.proofs import State

_WORDS: dict[State, str] = {
    "right": "verified",
    "unknown": "not yet",
    "damaged": "damaged",
    "missing": "missing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The parts of a page; all but the title are HTML.

    Attributes:
        title: For the browser's list of tabs; plain text.
        kind: One line above the heading.
        heading: What it is about.
        summary: One line below.
        content: The rest.
        home: Whether a link leads to the first page.
    """

    title: str
    kind: Html
    heading: Html
    summary: Html
    content: Html
    home: bool = True

    def html(self) -> str:
        """The whole of it."""
        nav = '<nav aria-label="Site"><a href="/">All of the store</a></nav>\n' if self.home else ""
        return _template().substitute(
            title=escape(f"{self.title} – xttsreg"),
            style=_style(),
            nav=nav,
            kind=self.kind,
            heading=self.heading,
            summary=self.summary,
            content=self.content,
            footer=f"Served by xttsreg {escape(xttsreg.__version__)}, read-only.",
            script=_script(),
        )


@cache
def policy() -> str:
    """The content security policy of pages: one script, ours, and sounds from this server."""
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode("ascii")
    return (
        "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'; img-src data:; "
        f"script-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; media-src data:; img-src data:"
)
"""For reports, which are whole pages: styles and sounds that are in them, and nothing else."""


def state_word(state: State) -> str:
    """What is known of a blob, in words."""
    return _WORDS[state]


def when(created: str) -> str:
    """A time of RFC 3339 as people write it; empty if it is none."""
    try:
        moment = datetime.fromisoformat(created.replace("Z", "+00:00"))
    except ValueError:
        return ""
    return moment.strftime("%d %B %Y, %H:%M").lstrip("0")


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


@cache
def _template() -> Template:
    return Template(_text("page.html"))


@cache
def _style() -> str:
    return style() + _text("page.css")


@cache
def _script() -> str:
    return _text("copy.js")
