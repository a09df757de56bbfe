"""The first page: what is in the store, by kind, with a search."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xttsreg.content.artifacts import Kind
from xttsreg.content.descriptor import CREATED
from xttsreg.content.units import human_size
from xttsreg.look.pieces import Html, escape, many, notes, tiles
from xttsreg.serve.census import Census, base_of
from xttsreg.serve.pages import links
from xttsreg.serve.pages.frame import Page, state_word, when
from xttsreg.serve.proofs import Proofs, State
from xttsreg.serve.shelf import Item, Snapshot

ROWS = 25
KINDS: Mapping[Kind, tuple[str, str]] = {
    "voice": ("Voices", "voice"),
    "weights": ("Weight sets", "weight set"),
    "dataset": ("Datasets", "dataset"),
    "run": ("Training runs", "run"),
    "environment": ("Environments", "environment"),
    "other": ("From other tools", "other"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the lists is asked for.

    Attributes:
        words: Each must be in a name, or in that of its base.
        kind: Only this kind; empty for all.
        page: Of that kind, from 1 on.
    """

    words: str = ""
    kind: str = ""
    page: int = 1

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Wanted:
        """From the query of an address; nonsense is left out."""
        number, kind = query.get("page", ""), query.get("kind", "")
        page = int(number) if number.isascii() and number.isdecimal() and len(number) < 7 else 1
        return cls(query.get("q", "")[:200].strip(), kind if kind in KINDS else "", max(1, page))

    def fits(self, item: Item) -> bool:
        """Whether an item is among what is looked for."""
        base = base_of(item)
        text = f"{item.tagged} {base.tagged if base else ''} {item.kind}".lower()
        return all(word in text for word in self.words.lower().split())


def home(snapshot: Snapshot, census: Census, proofs: Proofs, wanted: Wanted) -> Page:
    """The page. Looks at files: not for the event loop's thread."""
    found = [item for item in snapshot.items.values() if wanted.fits(item)]
    content = search(wanted)
    if not snapshot.items:
        content += (
            "<section><p>This store is empty. <code>xttsreg import</code>, <code>fetch</code>"
        )
        content += " or <code>add</code> fill it.</p></section>"
    elif not found:
        content += f"<section><p>Nothing here is called {escape(wanted.words)}.</p></section>"
    if not (wanted.words or wanted.kind):
        content += f'<dl class="tiles">{tiles(_headlines(snapshot, census))}</dl>'
    for kind in KINDS:
        rows = sorted((item for item in found if item.kind == kind), key=_newest)
        if rows and wanted.kind in ("", kind):
            content += _section(kind, rows, census, proofs, wanted)
    broken = [f"{tagged} cannot be read: {why}" for tagged, why in snapshot.unreadable.items()]
    return Page(
        title="Store",
        kind="xttsreg",
        heading="Voices and weights",
        summary=escape(f"{many(len(snapshot.items), 'name')} in this store."),
        content=content + notes(broken),
        home=bool(wanted.words or wanted.kind),
    )


def search(wanted: Wanted) -> Html:
    """Where to look for something by name."""
    return (
        '<form class="search" role="search" action="/"><label for="q">Name</label>'
        '<input type="search" id="q" name="q" placeholder="Voice, set or dataset"'
        f' value="{escape(wanted.words)}"><button>Find</button></form>'
    )


def _headlines(snapshot: Snapshot, census: Census) -> list[tuple[str, str, str]]:
    voices = sum(item.kind == "voice" for item in snapshot.items.values())
    sets = sum(item.kind == "weights" for item in snapshot.items.values())
    saved = census.named_bytes - census.stored_bytes
    return [
        ("Voices", str(voices), "trained from what is here"),
        ("Weight sets", str(sets), "to train and speak with"),
        ("On the disk", human_size(census.stored_bytes), "every file once"),
        ("Shared", human_size(saved), "saved by files in common"),
    ]


def _newest(item: Item) -> tuple[bool, str, list[str]]:
    """Sort key: newest first, then what has no date, by name."""
    created = item.manifest.annotations.get(CREATED, "")
    # Complemented, so that a later date sorts first and equal ones go by name.
    backwards = "".join(chr(255 - ord(c) % 256) for c in created)
    return not created, backwards, _as_people_count(item.tagged)


def _as_people_count(name: str) -> list[str]:
    """Sort key of a name: v2 before v10."""
    parts = re.split(r"([0-9]+)", name)
    return [part.lstrip("0").rjust(20, "0") if at % 2 else part for at, part in enumerate(parts)]


def _section(
    kind: Kind, rows: Sequence[Item], census: Census, proofs: Proofs, wanted: Wanted
) -> Html:
    heading = KINDS[kind][0]
    first = (wanted.page - 1) * ROWS if wanted.kind else 0
    shown = rows[first : first + ROWS]
    body = "".join(_row(item, census, proofs) for item in shown)
    ways = []
    if len(rows) > ROWS and not wanted.kind:
        ways.append((f"All {len(rows)}", links.home(q=wanted.words, kind=kind)))
    if first:
        ways.append(("Before", links.home(q=wanted.words, kind=kind, page=wanted.page - 1)))
    if wanted.kind and first + ROWS < len(rows):
        ways.append(("More", links.home(q=wanted.words, kind=kind, page=wanted.page + 1)))
    more = "".join(f'<a href="{escape(link)}">{escape(text)}</a>' for text, link in ways)
    caption = (
        f"<caption>{first + 1} to {first + len(shown)} of {len(rows)}</caption>" if more else ""
    )
    return (
        f'<section aria-labelledby="{kind}"><h2 id="{kind}">{heading}</h2>'
        f'<table class="list">{caption}<thead><tr><th scope="col">Name</th>'
        '<th scope="col">Size</th><th scope="col">Checked</th></tr></thead>'
        f"<tbody>{body}</tbody></table>"
        + (f'<nav class="pages" aria-label="{heading}">{more}</nav>' if more else "")
        + "</section>"
    )


def _row(item: Item, census: Census, proofs: Proofs) -> Html:
    size, base = census.sizes[item.entry.digest], base_of(item)
    day = when(item.manifest.annotations.get(CREATED, "")).partition(",")[0]
    about = ", ".join(filter(None, [f"from {base.tagged}" if base else "", day]))
    whole, mine = human_size(size.whole_bytes), human_size(size.own_bytes)
    own = f'<span class="about">{mine} its own</span>' if mine != whole else ""
    state = item_state(item, proofs)
    return (
        f'<tr><th scope="row"><a href="{escape(links.show(item))}">{escape(item.tagged)}</a>'
        f'<span class="about">{escape(about)}</span></th>'
        f"<td>{whole}{own}</td>"
        f'<td class="{state}">{state_word(state)}</td></tr>'
    )


def item_state(item: Item, proofs: Proofs) -> State:
    """The worst state of an item's files."""
    states = {proofs.state(layer) for layer in item.manifest.layers}
    order: tuple[State, ...] = ("damaged", "missing", "unknown", "right")
    return next((state for state in order if state in states), "right")
