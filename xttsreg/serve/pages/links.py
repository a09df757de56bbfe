"""Addresses of pages and files. Pages are below ``/-/``, which no reference can begin with."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from xttsreg.serve.shelf import Item


def show(item: Item) -> str:
    """The page of an item."""
    return f"/-/show/{_name(item)}"


def report(item: Item) -> str:
    """Its report."""
    return f"/-/report/{_name(item)}"


def sound(item: Item, name: str) -> str:
    """A sample of its report."""
    return f"/-/sound/{_name(item)}/{quote(name, safe='')}"


def file(item: Item, name: str) -> str:
    """One of its files, as the hub has it."""
    prefix = "/datasets" if item.kind == "dataset" else ""
    return f"{prefix}/{quote(item.repo)}/resolve/{quote(item.tag)}/{quote(name)}"


def home(**query: str | int) -> str:
    """The first page, or a part of its lists."""
    kept = {key: value for key, value in query.items() if value not in ("", 1)}
    return f"/?{urlencode(kept)}" if kept else "/"


def _name(item: Item) -> str:
    return quote(item.tagged, safe="/:")
