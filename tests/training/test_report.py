"""The page at the end of a run: complete, self-contained, readable by everybody."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import re
import shutil
import subprocess
import wave
from html.parser import HTMLParser

import pytest

from xttsreg.ops.reports import REPORT_TYPE
from xttsreg.training.engine import require_engine
from xttsreg.training.packages import training_pins
from xttsreg.training.report import Story, gather_samples, write_report
from xttsreg.training.report_charts import Series, chart, labels, scientific, ticks
from xttsreg.training.report_samples import Samples
from xttsreg.training.result import EvalLoss, StepLoss

pytestmark = pytest.mark.train
VOID = {"meta", "br", "link", "img", "input", "hr", "path", "circle"}


class Page(HTMLParser):
    """Tags with their attributes, in order; an unclosed tag is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def report(voice_store):
    return voice_store[1].report


@pytest.fixture(scope="module")
def text(report):
    return report.read_text("utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


@pytest.fixture
def story(finished):
    """A run with an origin made up for it."""
    result, _ = finished
    origin = {"reference": "me:v1", "digest": "sha256:" + "ab" * 32, "base": "tiny:main@sha256:cd"}
    return Story(
        run=result, origin=origin, settings={"options": result.options, "config": result.config},
        view_mode="copy", samples=Samples(missing="None here."),
    )  # fmt: skip


def test_it_tells_everything(text, voice_store):
    store, done = voice_store
    pins = training_pins(require_engine())
    plain = html.unescape(re.sub(r"<[^>]+>", " ", text))
    wanted = [
        "me:v1", done.manifest.digest, "tiny:main", store.tags()["tiny:main"].digest,
        "687 / 687", "speaker encoder", "hifigan decoder", "ljspeech",
        pins["torch"], pins[require_engine().tts.lower()],
        "22050 Hz", done.run.dataset.example.text, "Learning rate", "cut off",
        f"{done.run.eval_losses[-1].loss:.4f}", f"{done.run.step_losses[0].loss:.4f}",
    ]  # fmt: skip
    assert [fact for fact in wanted if fact not in plain] == []


def test_it_lies_beside_the_voice_in_the_store(voice_store, report, page):
    store, done = voice_store
    ((_, beside),) = store.referrers(done.manifest.digest)
    assert beside.artifact_type == REPORT_TYPE
    files = beside.files()
    assert list(files) == ["report.html", "before.wav", "after.wav", "recording.wav", "speaker.wav"]
    assert store.blob_path(files["report.html"].digest).read_bytes() == report.read_bytes()
    first = base64.b64decode(page.all("audio")[0]["src"].partition(",")[2])
    assert store.blob_path(files["before.wav"].digest).read_bytes() == first


def test_it_needs_nothing_from_anywhere(text, page):
    for name, attributes in page.tags:
        assert name not in {"script", "link", "iframe", "img", "object"}
        for key in ("src", "href", "srcset", "data", "action"):
            assert (attributes.get(key) or "data:").startswith("data:")
        assert not any(key.startswith("on") for key in attributes)
    assert "@import" not in text
    assert "url(" not in text
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


def test_it_names_no_folder_of_this_machine(text, scratch):
    assert str(scratch.parent) not in text


def test_samples_before_and_after_are_sound(page):
    sounds = {}
    for audio in page.all("audio"):
        data = base64.b64decode(audio["src"].removeprefix("data:audio/wav;base64,"))
        with wave.open(io.BytesIO(data)) as clip:
            sounds[audio["aria-label"].partition(":")[0]] = clip.readframes(clip.getnframes())
            assert clip.getnframes() > clip.getframerate() / 2
            assert clip.getnchannels() == 1
    assert list(sounds) == ["Before", "After", "Recording", "Speaker"]
    assert len(set(sounds.values())) == 4


def test_headings_tables_and_charts_can_be_read_without_seeing_them(page):
    assert page.all("html")[0]["lang"] == "en"
    levels = [int(name[1]) for name, _ in page.tags if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    order = [name for name, _ in page.tags]
    assert order.count("table") == order.count("caption") >= 6
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.all("th"))
    for drawing in page.all("svg"):
        named = drawing.get("role") == "img" and len(drawing.get("aria-label") or "") > 20
        assert named or drawing.get("aria-hidden") == "true"
    sections = {attributes["aria-labelledby"] for attributes in page.all("section")}
    assert sections == {attributes["id"] for attributes in page.all("h2")}


def colours(text, dark):
    blocks = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", blocks[1 if dark else 0]))


def contrast(first, second):
    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(first), light(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_contrast(text, dark):
    palette = colours(text, dark)
    for name in ("ink", "soft", "accent", "good", "warn"):  # text
        assert contrast(palette[name], palette["card"]) >= 4.5, name
    for name in ("ink", "soft"):
        assert contrast(palette[name], palette["page"]) >= 4.5, name
    for name in ("accent", "eval", "steps"):  # lines of charts
        assert contrast(palette[name], palette["card"]) >= 3, name


# --- in a real browser ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
    if not found:
        pytest.skip("needs chromium (Debian: apt-get install chromium)")
    return found


def browse(chromium, tmp_path, *arguments):
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=3000", *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("scheme", "name"), [(1, "light"), (0, "dark")])
def test_screenshot(chromium, report, text, tmp_path, scheme, name):
    image = pytest.importorskip("PIL.Image", reason="needs pillow, which comes with matplotlib")
    target = tmp_path / f"{name}.png"
    browse(
        chromium, tmp_path, f"--blink-settings=preferredColorScheme={scheme}",
        "--window-size=1000,2400", f"--screenshot={target}", report.as_uri(),
    )  # fmt: skip
    shot = image.open(target).convert("RGB")
    found = {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in shot.getcolors(1 << 24)}
    palette = colours(text, name == "dark")
    corner = "#{:02x}{:02x}{:02x}".format(*shot.getpixel((2, 2)))
    assert corner == palette["page"]
    # cards, text and the lines of the charts have really been painted
    assert {palette[key] for key in ("card", "ink", "accent", "eval")} <= found


_MEASURE = """<body><iframe width="{width}" height="700" style="border:0" srcdoc="{page}"></iframe>
<script>onload = () => {{
  const inside = document.querySelector("iframe").contentDocument;
  const shown = [...inside.querySelectorAll(".chart")].filter(e => e.getClientRects().length);
  const result = [inside.documentElement.scrollWidth, inside.documentElement.clientWidth,
    shown.map(e => e.getAttribute("class")).join("+"),
    Math.min(...shown.map(e => e.getBoundingClientRect().width / e.viewBox.baseVal.width))];
  document.body.innerHTML = "<p>" + result.join("|") + "</p>";
}}</script></body>"""


@pytest.mark.parametrize(("width", "kind"), [(320, "narrow"), (390, "narrow"), (1000, "wide")])
def test_nothing_sticks_out_and_the_charts_fit(chromium, text, tmp_path, width, kind):
    outer = tmp_path / "outer.html"
    # what is heard does not matter here, and would make the attribute megabytes long
    light = re.sub(r"base64,[A-Za-z0-9+/=]+", "base64,", text)
    outer.write_text(_MEASURE.format(width=width, page=html.escape(light, quote=True)), "utf-8")
    printed = browse(chromium, tmp_path, "--dump-dom", outer.as_uri())
    whole, visible, shown, scale = re.search(r"<p>(.*?)</p>", printed)[1].split("|")
    assert int(whole) <= int(visible) == width
    assert shown == f"chart {kind}+chart {kind}"
    assert float(scale) > 0.75  # 12 px of text stay above 9


# --- runs of other kinds ----------------------------------------------------------------------


def test_long_runs_stay_small_and_odd_losses_harmless(story, tmp_path):
    steps = [StepLoss(n, 1, 5 + 1 / n, 0.1, 5.0, 1e-6 / n, 0.0) for n in range(1, 20001)]
    steps[100] = dataclasses.replace(steps[100], loss=float("nan"))
    evals = [EvalLoss(n, 1, float("inf") if n == 4 else 3.0, 0.1, 3.0, 9) for n in range(5)]
    run = dataclasses.replace(story.run, step_losses=tuple(steps), eval_losses=tuple(evals))
    path = write_report(dataclasses.replace(story, run=run), tmp_path / "report.html")
    Page(path.read_text("utf-8"))
    assert path.stat().st_size < 200_000


def test_a_run_without_evaluation_or_steps(story, tmp_path):
    for changes in ({"eval_losses": ()}, {"eval_losses": (), "step_losses": ()}):
        run = dataclasses.replace(story.run, **changes)
        path = write_report(dataclasses.replace(story, run=run), tmp_path / "report.html")
        text = path.read_text("utf-8")
        Page(text)
        assert "There was no evaluation" in text


def test_texts_of_a_dataset_stay_texts(story, tmp_path):
    evil = "<script>alert(1)</script> & $name ${title}"
    data = dataclasses.replace(
        story.run.dataset, warnings=(evil,), dropped={evil: 1}, language=evil, path=f"/x/{evil}"
    )
    run = dataclasses.replace(story.run, dataset=data, violations=(evil,))
    origin = {**story.origin, "reference": evil, "author": evil}
    samples = Samples(missing=evil)
    told = dataclasses.replace(story, run=run, origin=origin, samples=samples)
    page = write_report(told, tmp_path / "report.html").read_text("utf-8")
    assert Page(page).all("script") == []
    assert page.count("$name ${title}") >= 6


def test_why_there_are_no_samples(story, clips, tiny, tmp_path):
    def why(**given):
        chosen = {"speaker_wav": clips / "reference.wav", "wanted": True, **given}
        return gather_samples(story.run, tmp_path, tiny, tell=lambda line: None, **chosen).missing

    assert "--no-samples" in why(wanted=False)
    assert "--speaker-wav" in why(speaker_wav=None)
    assert "cannot speak: no model.pth" in why()  # tmp_path is no weight set


def test_axes():
    assert ticks(6.93, 7.38, 5) == [6.9, 7.0, 7.1, 7.2, 7.3, 7.4]
    assert ticks(5.0, 5.0, 5)[0] < 5 < ticks(5.0, 5.0, 5)[-1]
    assert ticks(1, 1, 4, whole=True) == [1]
    assert ticks(1, 7, 4, whole=True) == [2.0, 4.0, 6.0]
    assert labels([6.5, 7.0]) == ["6.5", "7.0"]
    assert labels([0.0, 5e-5, 1e-4]) == ["0", "5e-5", "1e-4"]
    assert scientific(5e-6) == "5e-6"
    alone = [Series("one", "main", [(1.0, 2.0)])]
    assert "<circle" in chart(alone, title="t", description="d", y_label="y")
    assert "No figures" in chart([Series("no", "main", [])], title="", description="", y_label="")
