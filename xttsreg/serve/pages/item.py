"""The page of one weight set, voice, dataset, run or environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xttsreg.content.artifacts import BASE, DATASET, LINEAGE, count_files, word_for
from xttsreg.content.descriptor import CREATED, Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import Manifest
from xttsreg.content.modelpack import LICENSES, REFERENCE_FILE
from xttsreg.content.units import human_size
from xttsreg.look.pieces import Html, code, escape, facts, fold, many, tiles
from xttsreg.ops.lineage import AUTHOR
from xttsreg.ops.reports import ABOUT, REPORT_FILE, REPORT_TYPE, SENTENCE
from xttsreg.serve.census import Census
from xttsreg.serve.pages import links
from xttsreg.serve.pages.commands import commands
from xttsreg.serve.pages.frame import Page, state_word, when
from xttsreg.serve.pages.lineage import draw, gather
from xttsreg.serve.proofs import Proofs, State
from xttsreg.serve.shelf import Item, Snapshot

_SOUNDS = (".wav", ".flac", ".mp3", ".ogg")
MAX_FILES = 200
MAX_SOUNDS = 12
MAX_NAMES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a page is made from.

    Attributes:
        item: What it is about.
        snapshot: The store.
        census: The store, counted.
        proofs: Knows what has been verified.
        origin: Scheme, host and port as the browser has them, for the commands.
        locked: Whether readers need a token.
    """

    item: Item
    snapshot: Snapshot
    census: Census
    proofs: Proofs
    origin: str
    locked: bool


def report_of(item: Item, snapshot: Snapshot) -> Manifest | None:
    """The report about an item, if there is one beside it."""
    for _, manifest in snapshot.referrers.get(item.entry.digest, []):
        if manifest.artifact_type == REPORT_TYPE and REPORT_FILE in manifest.files():
            return manifest
    return None


def show(scene: Scene) -> Page:
    """The page. Looks at files: not for the event loop's thread."""
    item, states = scene.item, dict[Digest, State]()
    for layer in item.manifest.layers:
        states[layer.digest] = scene.proofs.state(layer)
    sections = [
        ("listen", "Listen", _listen(scene)),
        ("use", "Use it", commands(item, scene.snapshot, scene.origin, locked=scene.locked)),
        ("lineage", "Where it comes from", draw(gather(item, scene.snapshot, scene.census))
         + _more(scene)),
        ("files", "Files", _files(scene, states)),
        ("about", "In its manifest", _about(scene)),
    ]  # fmt: skip
    body = "".join(
        f'<section aria-labelledby="{key}"><h2 id="{key}">{heading}</h2>{content}</section>'
        for key, heading, content in sections
        if content
    )
    return Page(
        title=item.tagged,
        kind=escape(word_for(item.manifest)[2:].lstrip().capitalize()),
        heading=escape(item.tagged),
        summary=_summary(item),
        content=f'<dl class="tiles">{tiles(_headlines(scene, list(states.values())))}</dl>{body}',
    )


def _summary(item: Item) -> Html:
    notes = item.manifest.annotations
    base = notes.get(BASE, "").partition("@")[0]
    told = [
        f"from {code(base)}" if base else "",
        escape(when(notes.get(CREATED, ""))),
        f"by {escape(notes[AUTHOR])}" if notes.get(AUTHOR) else "",
        f"under {escape(notes[LICENSES])}" if notes.get(LICENSES) else "",
    ]
    line = ", ".join(filter(None, told))
    return f"{line[:1].upper()}{line[1:]}." if line else code(item.entry.digest)


def _headlines(scene: Scene, states: list[State]) -> Iterator[tuple[str, str, str]]:
    item, size = scene.item, scene.census.sizes[scene.item.entry.digest]
    notes = item.manifest.annotations
    if loss := notes.get(f"{LINEAGE}loss"):
        steps = notes.get(f"{LINEAGE}steps", "?")
        yield "Loss", loss[:6], f"after {steps} steps"
    if proof := notes.get(f"{LINEAGE}proof"):
        yield "Layers restored", proof.replace("/", " / "), "before training"
    shared = size.whole_bytes - size.own_bytes
    about = f"{human_size(shared)} shared with others" if shared else "nothing shared"
    yield (
        "Size",
        human_size(size.whole_bytes),
        f"{about}; {many(count_files(item.manifest), 'file')}",
    )
    right = states.count("right")
    bad = len([state for state in states if state in ("damaged", "missing")])
    word = f"{bad} wrong" if bad else "all of them" if right == len(states) else "others not yet"
    yield "Verified", f"{right} / {len(states)}", word


def _listen(scene: Scene) -> Html:
    """Samples of the report, else sounds among the files; and the way to the whole report."""
    report, item = report_of(scene.item, scene.snapshot), scene.item
    lead, figures, end = "", [], ""
    if report:
        sentence = report.annotations.get(SENTENCE, "")
        lead = f"<blockquote>{escape(sentence)}</blockquote>" if sentence else ""
        for name, layer in _sounds(report):
            title = name.rpartition(".")[0].capitalize()
            figures.append(_sound(title, layer.annotations.get(ABOUT, ""), links.sound(item, name)))
        whole = f'<a href="{escape(links.report(item))}">The whole report</a>'
        end = f'<p class="further">{whole}: losses, dataset, proof, settings.</p>'
    if not figures:
        for name, _ in _sounds(item.manifest)[:MAX_SOUNDS]:
            about = "the speaker's reference clip" if name == REFERENCE_FILE else ""
            figures.append(_sound(name, about, links.file(item, name)))
    if figures:
        lead += f'<div class="samples">{"".join(figures)}</div>'
    return lead + end


def _sounds(manifest: Manifest) -> list[tuple[str, Descriptor]]:
    named = ((layer.file_path or "", layer) for layer in manifest.layers)
    return [(name, layer) for name, layer in named if name.lower().endswith(_SOUNDS)]


def _sound(title: str, about: str, address: str) -> Html:
    label = escape(f"{title}: {about}" if about else title)
    return (
        f"<figure><figcaption>{escape(title)}<span>{escape(about)}</span></figcaption>"
        f'<audio controls preload="metadata" src="{escape(address)}" aria-label="{label}"></audio>'
        "</figure>"
    )


def _more(scene: Scene) -> Html:
    more = gather(scene.item, scene.snapshot, scene.census).more
    if not more:
        return ""
    link = escape(links.home(q=scene.item.tagged))
    return f'<p class="soft"><a href="{link}">And {many(more, "more")} made from it</a></p>'


def _files(scene: Scene, states: dict[Digest, State]) -> Html:
    item, body = scene.item, []
    files = item.files
    for name, layer in list(files.items())[:MAX_FILES]:
        state, users = states[layer.digest], scene.census.users[layer.digest] - 1
        shared = f'<span class="about">in {many(users, "other")}</span>' if users else ""
        body.append(
            f'<tr><th scope="row"><a href="{escape(links.file(item, name))}">{escape(name)}</a>'
            f"</th><td>{human_size(layer.size_bytes)}{shared}</td>"
            f'<td class="{state}">{state_word(state)}</td>'
            f'<td class="digest mono" title="{layer.digest}">{layer.digest.short}</td></tr>'
        )
    left = len(files) - len(body)
    rest = f'<p class="soft">And {many(left, "more file")}.</p>' if left > 0 else ""
    return (
        '<table class="files list"><thead><tr><th scope="col">Name</th>'
        '<th scope="col">Size</th><th scope="col">Checked</th><th scope="col" class="digest">'
        f"sha256</th></tr></thead><tbody>{''.join(body)}</tbody></table>{rest}"
    )


def _about(scene: Scene) -> Html:
    item = scene.item
    others = [each for each in scene.snapshot.names[item.entry.digest] if each is not item]
    rows: dict[str, Html | None] = {
        "Manifest": code(item.entry.digest),
        "Commit": code(item.commit),
    }
    listed = [f'<a href="{escape(links.show(each))}">{escape(each.tagged)}</a>'
              for each in others[:MAX_NAMES]]  # fmt: skip
    left = len(others) - len(listed)
    rows["Other names"] = ", ".join(listed) + (f", and {left} more" if left else "")
    notes = item.manifest.annotations
    for label, key in (("Base", BASE), ("Dataset", DATASET)):
        rows[label] = code(notes[key]) if key in notes else None
    rest: dict[str, Html | None] = {
        key.removeprefix(LINEAGE): escape(value)
        for key, value in sorted(notes.items())
        if key not in (BASE, DATASET)
    }
    folded = fold("All annotations", facts("As they stand in the manifest", rest)) if rest else ""
    return facts("What pins it", rows) + folded
