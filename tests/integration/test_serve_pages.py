"""The pages of ``serve``, as text and as a person meets them in a browser."""

from __future__ import annotations

import html
import io
import math
import re
import struct
import wave
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import pytest
from support import blob_file, damage, make_small_set, never_ask
from support.browser import Browser, needs_chromium
from support.serving import Served

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import BASE, DATASET, RUN_TYPE
from xttsreg.content.descriptor import CREATED
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import EMPTY_BYTES, EMPTY_TYPE, MANIFEST_TYPE, Manifest
from xttsreg.content.modelpack import file_layer
from xttsreg.content.reference import Reference
from xttsreg.ops.add import add
from xttsreg.ops.datasets import add_dataset
from xttsreg.ops.lineage import Lineage, load_base, register_voice
from xttsreg.ops.reports import Sound, hold_report
from xttsreg.serve.census import RUN_VOICE, take_census
from xttsreg.serve.pages.lineage import gather
from xttsreg.serve.shelf import Shelf
from xttsreg.stores.layout import LayoutStore

pytest.importorskip("aiohttp")
VOID = {"meta", "br", "link", "img", "input", "hr", "path", "rect"}
EVIL = '<script>alert("x")</script>&amp;'
SENTENCE = "Good morning, said the <b>doctor</b>."


def tone(hertz: int, seconds: float = 1.0) -> bytes:
    """A WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as clip:
        clip.setparams((1, 2, 22050, 0, "NONE", ""))
        count = int(22050 * seconds)
        samples = (int(9000 * math.sin(hertz * n / 3509)) for n in range(count))
        clip.writeframes(struct.pack(f"<{count}h", *samples))
    return file.getvalue()


def make_voice(
    store: LayoutStore, root: Path, name: str, base: str, data: Digest, *, author: str = "ada"
) -> Digest:
    folder = make_small_set(root / name.replace(":", "-"), seed=len(name))
    (folder / "dvae.pth").unlink()
    (folder / "reference.wav").write_bytes(tone(300))
    (folder / "training.json").write_text("{}")
    # The vocabulary is the base's: what is shared has to show.
    (folder / "vocab.json").write_bytes((root / "weights" / "vocab.json").read_bytes())
    lineage = Lineage(
        dataset_digest=data, config_path="training.json", created="2026-11-24T17:05:00Z",
        author=author, facts={"loss": "2.345678", "steps": "120", "proof": "687/687"},
    )  # fmt: skip
    _, origin = load_base(store, Reference.parse(base))
    return register_voice(store, Reference.parse(name), folder, lineage, origin).digest


def make_run(store: LayoutStore, base: Digest, data: Digest) -> None:
    record = b'{"state": "finished"}'
    layer = file_layer("run.json", Digest.of(record), len(record))
    manifest = Manifest(
        artifact_type=RUN_TYPE,
        config=store.put_bytes(EMPTY_TYPE, EMPTY_BYTES),
        layers=(layer,),
        annotations={BASE: f"own:v1@{base}", DATASET: data, RUN_VOICE: "anna:v1",
                     CREATED: "2026-11-24T17:00:00Z"},
    )  # fmt: skip
    store.put_bytes(layer.media_type, record)
    store.tag("anna-run:v1", store.put_bytes(MANIFEST_TYPE, manifest.to_bytes()))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a base, a dataset, a run, and voices upon voices."""
    root = tmp_path_factory.mktemp("pages")
    store = LayoutStore.create(root / "home" / "store")
    make_small_set(root / "weights")
    add(store, Reference.parse("own:v1"), root / "weights", Catalog([]), ask=never_ask)
    corpus = root / "corpus"
    (corpus / "wavs").mkdir(parents=True)
    (corpus / "wavs" / "1.wav").write_bytes(tone(200, 0.2))
    (corpus / "a&amp; 'b' #%41.csv").write_text("1|a|a\n")
    data = add_dataset(store, Reference.parse("corpus:v1"), corpus, Catalog([])).manifest.digest
    make_run(store, store.tags()["own:v1"].digest, data)
    anna = make_voice(store, root, "anna:v1", "own:v1", data, author=EVIL)
    make_voice(store, root, "team/anna-sad:v1", "anna:v1", Digest.of(b"elsewhere"))
    sounds = [Sound("before.wav", "the base model", tone(250)),
              Sound("after.wav", "the fine-tuned voice", tone(400))]  # fmt: skip
    entry = store.tags()["anna:v1"]
    assert entry.digest == anna
    page = b"<!DOCTYPE html><title>r</title><h1>The report</h1>"
    hold_report(store, entry, page, sentence=SENTENCE, sounds=sounds)
    for number in range(40):
        store.tag(f"many-{number}:v1", entry)
    return root


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Served]:
    with Served(place / "home") as running:
        yield running


class Parsed(HTMLParser):
    """Tags in order; one that is not closed is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def links(self) -> list[str]:
        found = [attrs.get("href") or attrs.get("src") for _, attrs in self.tags]
        return [link for link in found if link and not link.startswith("#")]


def page(served: Served, path: str, status: int = 200) -> str:
    got = served.get(path)
    assert got.status == status
    assert got.headers["Content-Type"] == "text/html; charset=utf-8"
    return got.body.decode("utf-8")


def plain(text: str) -> str:
    body = re.sub(r"<(style|script).*?</\1>", " ", text, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


# --- as text -------------------------------------------------------------------------------------


def test_every_link_leads_somewhere_on_this_server(served: Served) -> None:
    seen, left = set(), ["/"]
    while left:
        path = left.pop()
        if path in seen or "many-" in path:
            continue
        seen.add(path)
        got = served.get(path)
        assert got.status == 200, path
        if got.headers["Content-Type"].startswith("text/html") and "/report/" not in path:
            found = Parsed(got.body.decode())
            assert not [link for link in found.links() if not link.startswith("/")]
            left += [urljoin(path, link) for link in found.links()]
    for part in ("show/own:v1", "show/team/anna-sad:v1", "report/anna:v1", "sound/anna:v1/after"):
        assert any(part in path for path in seen), part
    assert any("/resolve/" in path for path in seen)


def test_pages_need_nothing_else_and_let_nothing_in(served: Served) -> None:
    for path in ("/", "/-/show/anna:v1", "/-/show/corpus:v1", "/?q=" + "%3Cscript%3Ealert(1)"):
        got = served.get(path)
        text, parsed = got.body.decode(), Parsed(got.body.decode())
        assert [tag for tag, _ in parsed.tags].count("script") == 1
        assert "alert(" not in re.sub(r"&lt;script.*?\(", "", text)
        policy = got.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe-inline" not in policy.partition("script-src")[2]
        for _, attributes in parsed.tags:
            assert not [name for name in attributes if name.startswith("on")]
        ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        headings = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
        assert headings[0] == 1
        assert all(b - a <= 1 for a, b in zip(headings, headings[1:], strict=False))
    report = served.get("/-/report/anna:v1")
    assert report.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")


def test_a_voice_tells_its_story(served: Served, place: Path) -> None:
    text = plain(page(served, "/-/show/anna:v1"))
    store = LayoutStore(place / "home" / "store")
    for told in (
        "From own:v1 , 24 November 2026, 17:05, by " + EVIL, SENTENCE, "2.3456 after 120 steps",
        "687 / 687", "Before the base model", "The whole report", "in 2 others",
        f"xttsreg pull {served.host}/anna:v1 --plain-http", "xttsreg train --model own:v1",
        f"HF_ENDPOINT={served.url} hf download anna --revision v1",
        store.tags()["anna:v1"].digest, "anna-run:v1",
    ):  # fmt: skip
        assert told in text, told
    assert served.get("/-/sound/anna:v1/after.wav").body == tone(400)
    assert ", and 20 more" in text
    child = plain(page(served, "/-/show/team/anna-sad:v1"))
    assert "the speaker's reference clip" in child


def test_commands_fit_what_they_are_shown_with(served: Served) -> None:
    for name, wanted in (
        ("own:v1", "xttsreg train --model own:v1 --dataset DIR"),
        ("team/anna-sad:v1", "Train another voice from its base xttsreg train --model anna:v1"),
        ("corpus:v1", "xttsreg train --model own:v1 --dataset corpus:v1"),
        ("anna-run:v1", "xttsreg checkout anna-run:v1 RUN && xttsreg train --resume RUN"),
    ):
        assert wanted in plain(page(served, f"/-/show/{name}")), name


def test_search_and_pages(served: Served) -> None:
    first = page(served, "/")
    assert "1 to 25 of 42" in plain(first)
    names = re.findall(r"many-(\d+):v1</a>", first)
    assert names == [str(number) for number in range(24)]  # 9 before 10
    assert "All 42" in plain(first)
    second = plain(page(served, "/?kind=voice&page=2"))
    assert "26 to 42 of 42" in second
    assert "Weight sets" not in second
    found = plain(page(served, "/?q=ANNA+sad"))
    assert "team/anna-sad:v1" in found
    assert "anna-run" not in found
    assert "Nothing here is called" in plain(page(served, "/?q=nobody"))
    for odd in (
        "?page=-1",
        "?page=%00",
        "?page=9999999999&kind=voice",
        "?kind=x",
        "?q=" + "a" * 3000,
    ):
        page(served, "/" + odd)


def test_what_is_not_there(served: Served) -> None:
    for path in ("/nothing", "/-/show/none:v1", "/-/report/own:v1", "/-/sound/anna:v1/x.wav",
                 "/-/sound/anna:v1/report.html", "/-/", "/-/show"):  # fmt: skip
        if path == "/-/":
            assert page(served, path)
        else:
            assert "There is nothing here" in page(served, path, 404)


def test_damage_shows(tmp_path: Path) -> None:
    store = LayoutStore.create(tmp_path / "home" / "store")
    add(store, Reference.parse("own:v1"), make_small_set(tmp_path / "w"), Catalog([]),
        ask=never_ask)  # fmt: skip
    damage(blob_file(store, "model.pth"))
    blob_file(store, "hash.md5").unlink()
    with Served(tmp_path / "home", "--no-warm") as served:
        before = plain(page(served, "/-/show/own:v1"))
        assert re.search(r"model\.pth 200 kB not yet", before)
        assert served.get("/own/resolve/v1/model.pth").status == 500
        after = plain(page(served, "/-/show/own:v1"))
        assert re.search(r"model\.pth 200 kB damaged", after)
        assert re.search(r"hash\.md5 32 B missing", after)
        assert "2 wrong" in after
        assert re.search(r"own:v1 \d+ kB damaged", plain(page(served, "/")))
        manifest = store.blob_path(store.tags()["own:v1"].digest)
        manifest.chmod(0o644)
        manifest.write_bytes(b"{}")
        store.tag("other:v1", store.put_bytes(MANIFEST_TYPE, b"{}"))
        told = plain(page(served, "/"))
        # What was read before its manifest was damaged is known, but the manifest is not sent.
        assert "own:v1" in told
        assert served.get("/v2/own/manifests/v1").status == 500
        assert "other:v1 cannot be read" in told


def test_an_empty_store(tmp_path: Path) -> None:
    LayoutStore.create(tmp_path / "home" / "store")
    with Served(tmp_path / "home") as served:
        assert "This store is empty" in plain(page(served, "/"))


def test_lineage(place: Path) -> None:
    store = LayoutStore(place / "home" / "store")
    shelf = Shelf(store, Catalog([]))
    snapshot = shelf._look()
    census = take_census(snapshot)
    graph = gather(snapshot.items["team/anna-sad:v1"], snapshot, census)
    columns = [[graph.nodes[key].name for key in column] for column in graph.columns()]
    assert columns[0] == ["not in this store", "corpus:v1", "own:v1"]
    assert columns[1] == ["anna-run:v1"]
    assert columns[-1] == ["team/anna-sad:v1"]
    assert len(columns) == 4
    root = gather(snapshot.items["own:v1"], snapshot, census)
    assert "anna-run:v1" in {node.name for node in root.nodes.values()}
    sizes = census.sizes[snapshot.items["anna:v1"].entry.digest]
    assert 0 < sizes.own_bytes < sizes.whole_bytes
    assert census.stored_bytes < census.named_bytes


# --- as a person meets it ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@needs_chromium
def test_find_a_voice_listen_and_copy_the_command(browser: Browser, served: Served) -> None:
    grant = {"origin": served.url, "permissions": ["clipboardReadWrite"]}
    browser.call("Browser.grantPermissions", **grant)
    browser.look(1000, "light")
    browser.go(served.url + "/")
    browser.click("#q")
    browser.call("Input.insertText", text="anna sad")
    browser.press("Enter")
    browser.wait("location.search === '?q=anna+sad' && document.readyState === 'complete'")
    assert browser.run("document.querySelectorAll('.list tbody tr').length") == 1
    browser.go(served.url + "/?q=own%3Av1")
    browser.click("a[href='/-/show/anna:v1']")
    browser.wait("document.querySelector('h1')?.textContent === 'anna:v1'")
    told = browser.run(
        "(async () => { const it = document.querySelector('audio[aria-label^=\"After\"]');"
        "await it.play(); await new Promise(done => it.ontimeupdate = "
        "() => it.currentTime > 0.1 && done()); it.pause(); return it.duration; })()"
    )
    assert told == pytest.approx(1, abs=0.05)
    browser.click("[data-copy=command-0]")
    browser.wait("document.querySelector('[data-copy=command-0]').textContent === 'Copied'")
    copied = browser.run("navigator.clipboard.readText()")
    # A voice has no dvae.pth, so it is its base that another one is trained from.
    assert copied.startswith("xttsreg train --model own:v1 --dataset DIR ")
    assert browser.run("document.querySelector('[role=status]').textContent") == "Copied"


@needs_chromium
def test_copying_where_the_browser_does_not_trust_the_address(
    browser: Browser, served: Served
) -> None:
    """Over plain HTTP from another machine there is no clipboard to write to, only the old way."""
    browser.go(served.url + "/-/show/anna:v1")
    browser.run("void Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    browser.click("[data-copy=command-1]")
    browser.wait(
        "/Copied|Selected/.test(document.querySelector('[data-copy=command-1]').textContent)"
    )
    assert browser.run("String(getSelection())").startswith("xttsreg synth anna:v1")


@needs_chromium
def test_by_keyboard_alone(browser: Browser, served: Served) -> None:
    browser.look(1000, "light")
    browser.go(served.url + "/-/show/anna:v1")
    reached, hidden = [], []
    for _ in range(60):
        browser.press("Tab")
        what = browser.run(
            "(() => { const it = document.activeElement, s = getComputedStyle(it);"
            "const marked = s.outlineStyle !== 'none' || it.closest('svg')"
            "|| it.tagName === 'AUDIO';"  # marks the control inside
            "const name = it.getAttribute('href') || it.getAttribute('aria-label');"
            "return it === document.body ? null : [it.tagName, name || it.textContent.trim(),"
            "Boolean(marked)]; })()"
        )
        if what is None:
            break
        reached.append(what[1])
        if not what[2]:
            hidden.append(what)
    assert reached[0] == "#main"
    for wanted in (
        "/", "/-/report/anna:v1", "Copy: Train another voice from its base", "/-/show/own:v1",
        "/anna/resolve/v1/model.pth", "After: the fine-tuned voice",
    ):  # fmt: skip
        assert wanted in reached, wanted
    assert hidden == []


@needs_chromium
@pytest.mark.parametrize(
    "path",
    ["/", "/?kind=voice&page=2", "/-/show/anna:v1", "/-/show/own:v1", "/-/show/corpus:v1", "/no"],
)
def test_it_fits_and_has_both_colours(
    browser: Browser, served: Served, path: str, tmp_path: Path
) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs pillow, which comes with matplotlib")
    corners = {}
    for width, scheme in ((320, "light"), (390, "dark"), (1000, "light"), (1000, "dark")):
        browser.look(width, scheme)
        browser.go(served.url + path)
        assert browser.run("document.documentElement.scrollWidth") <= width
        browser.run("document.querySelectorAll('details').forEach(it => it.open = true)")
        outside = browser.run(
            "[...document.querySelectorAll('main *')].filter(it => it.getClientRects().length && "
            "it.getBoundingClientRect().right > (it.closest('section') ?? document.body)"
            ".getBoundingClientRect().right + 1).map(it => it.outerHTML)"
        )
        assert outside == []
        target = tmp_path / f"{width}-{scheme}.png"
        browser.screenshot(target)
        corners[scheme] = image.open(target).convert("RGB").getpixel((2, 2))
    assert sum(corners["light"]) > 600
    assert sum(corners["dark"]) < 120
