"""Where a thing comes from and what came of it, as a picture: inline SVG with links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xttsreg.content.digest import Digest
from xttsreg.look.pieces import escape
from xttsreg.serve.census import RUN_VOICE, Census, base_digest, base_of, dataset_digest
from xttsreg.serve.pages.links import show
from xttsreg.serve.shelf import Item, Snapshot

MAX_HEIRS = 6
_WIDTH, _HEIGHT, _ACROSS, _DOWN = 190, 50, 56, 18
_CHARACTERS = 23
_GUTTER = 18


@dataclass(frozen=True, slots=True)
class Node:
    """A box of the picture.

    Attributes:
        kind: What it is.
        name: What it is called.
        link: Where it leads; empty for what is not in this store.
        here: Whether it is what the page is about.
    """

    kind: str
    name: str
    link: str = ""
    here: bool = False


@dataclass(slots=True)
class Graph:
    """Boxes by key, and which comes from which."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    more: int = 0

    def columns(self) -> list[list[str]]:
        """Keys by their longest way from a source."""
        depth = dict.fromkeys(self.nodes, 0)
        for _ in self.nodes:  # as often as the longest way can be long
            for source, target in self.edges:
                depth[target] = max(depth[target], depth[source] + 1)
        return [[key for key in self.nodes if depth[key] == column]
                for column in range(max(depth.values(), default=0) + 1)]  # fmt: skip


def gather(item: Item, snapshot: Snapshot, census: Census) -> Graph:
    """The ancestors of an item, itself, and what was made from it."""
    graph = Graph()
    key = str(item.entry.digest)
    graph.nodes[key] = Node(item.kind, item.tagged, here=True)
    _ancestors(graph, item, snapshot.names)
    heirs = [heir for heir in census.heirs.get(item.entry.digest, ()) if heir.entry.digest != key]
    for heir in heirs[:MAX_HEIRS]:
        _add(graph, heir)
        graph.edges.append((key, heir.entry.digest))
    graph.more = max(0, len(heirs) - MAX_HEIRS)
    if item.kind == "run":
        voice = snapshot.items.get(item.manifest.annotations.get(RUN_VOICE, ""))
        if voice and base_digest(voice) == base_digest(item):
            _add(graph, voice)
            graph.edges.append((key, voice.entry.digest))
    return graph


def _add(graph: Graph, item: Item) -> None:
    graph.nodes.setdefault(item.entry.digest, Node(item.kind, item.tagged, show(item)))


def _ancestors(graph: Graph, item: Item, names: Mapping[Digest, list[Item]]) -> None:
    """Base and dataset, the base's own, and the run between them if it is here."""
    seen = set()
    while item.entry.digest not in seen:
        seen.add(item.entry.digest)
        target = str(item.entry.digest)
        run = _run_of(item, names) if item.kind == "voice" else None
        if run:
            _add(graph, run)
            graph.edges.append((run.entry.digest, target))
            target = run.entry.digest
        base, data = base_of(item), dataset_digest(item)
        if data:
            _parent(graph, data, "dataset", "not in this store", names, target)
        if base is None or base.digest is None:
            return
        _parent(graph, base.digest, "base", base.tagged, names, target)
        if base.digest not in names:
            return
        item = names[base.digest][0]


def _parent(
    graph: Graph,
    digest: Digest,
    kind: str,
    name: str,
    names: Mapping[Digest, list[Item]],
    target: str,
) -> None:
    if digest in names:
        _add(graph, names[digest][0])
    else:
        graph.nodes.setdefault(digest, Node(f"{kind}, {digest.short}", name))
    graph.edges.append((digest, target))


def _run_of(voice: Item, names: Mapping[Digest, list[Item]]) -> Item | None:
    called = {item.tagged for item in names[voice.entry.digest]}
    for item, *_ in names.values():
        told = item.manifest.annotations.get(RUN_VOICE)
        if item.kind == "run" and told in called and base_digest(item) == base_digest(voice):
            return item
    return None


def draw(graph: Graph) -> str:
    """The picture, once for wide pages (to the right) and once for narrow ones (downwards)."""
    if len(graph.nodes) < 2:
        return ""
    return _draw(graph, "wide") + _draw(graph, "narrow")


def _draw(graph: Graph, kind: str) -> str:
    wide, columns = kind == "wide", graph.columns()
    longest = max(map(len, columns))
    places: dict[str, tuple[float, float]] = {}
    for number, column in enumerate(columns):
        for row, key in enumerate(column):
            if wide:
                shift = (longest - len(column)) * (_HEIGHT + _DOWN) / 2
                places[key] = (number * (_WIDTH + _ACROSS), shift + row * (_HEIGHT + _DOWN))
            else:  # one box a line, so that names stay readable; lines go down on its left
                line = sum(map(len, columns[:number])) + row
                places[key] = (_GUTTER * (number + 1), line * (_HEIGHT + _DOWN))
    width = max(x for x, _ in places.values()) + _WIDTH + 4
    height = max(y for _, y in places.values()) + _HEIGHT + 4
    lines = "".join(_edge(places[a], places[b], wide) for a, b in graph.edges)
    boxes = "".join(_box(graph.nodes[key], *place) for key, place in places.items())
    label = "; ".join(f"{graph.nodes[b].name} comes from {graph.nodes[a].name}"
                      for a, b in graph.edges)  # fmt: skip
    return (
        f'<svg class="lineage {kind}" viewBox="-2 -2 {width:.0f} {height:.0f}" role="group" '
        f'style="max-width:{width:.0f}px" aria-label="{escape(label)}">{lines}{boxes}</svg>'
    )


def _edge(start: tuple[float, float], end: tuple[float, float], wide: bool) -> str:
    if wide:
        x, y = start[0] + _WIDTH, start[1] + _HEIGHT / 2
        to_x, to_y = end[0], end[1] + _HEIGHT / 2
        bend = (x + to_x) / 2
        way = f"M{x:.0f} {y:.0f}C{bend:.0f} {y:.0f} {bend:.0f} {to_y:.0f} {to_x:.0f} {to_y:.0f}"
    else:
        x, y = start[0], start[1] + _HEIGHT / 2
        left, to_y = x - _GUTTER / 2, end[1] + _HEIGHT / 2
        way = f"M{x:.0f} {y:.0f}H{left:.0f}V{to_y:.0f}H{end[0]:.0f}"
    return f'<path class="edge" d="{way}"/>'


def _box(node: Node, x: float, y: float) -> str:
    name = node.name if len(node.name) <= _CHARACTERS else node.name[: _CHARACTERS - 1] + "…"
    state = "here" if node.here else "" if node.link else "gone"
    box = (
        f"<title>{escape(f'{node.kind}: {node.name}')}</title>"
        f'<rect class="box {state}" x="{x:.0f}" y="{y:.0f}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'rx="7"/><text class="what" x="{x + 12:.0f}" y="{y + 19:.0f}">{escape(node.kind)}</text>'
        f'<text class="name" x="{x + 12:.0f}" y="{y + 38:.0f}">{escape(name)}</text>'
    )
    return f'<a href="{escape(node.link)}">{box}</a>' if node.link else f"<g>{box}</g>"
