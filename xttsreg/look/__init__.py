"""One look for every page: the style sheet, and pieces of HTML in which every text is escaped."""

from __future__ import annotations

from importlib import resources


def style() -> str:
    """The style sheet that all pages have in common."""
    return resources.files(__package__).joinpath("look.css").read_text("utf-8")
