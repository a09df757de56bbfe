"""The doctor: every fault of machine, store, weights and dataset has a line, a cause and a code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import wave

import pytest
from support import ROOT, filled_store, make_small_set

from xttsreg.catalog import Catalog
from xttsreg.cli import main
from xttsreg.content.checkpoint import summarize
from xttsreg.content.reference import Reference
from xttsreg.errors import InsufficientSpace, InvalidDataset, MissingDependency
from xttsreg.ops.add import add
from xttsreg.stores.layout import LayoutStore
from xttsreg.training import preflight, preflight_machine, preflight_plan
from xttsreg.training.dataset import load_dataset, survey_dataset
from xttsreg.training.engine import NEXT, STOCK, find_engine, suggested
from xttsreg.training.packages import missing_for, require_language, training_pins

from .conftest import quick


@pytest.fixture(scope="module")
def stocked(tiny, scratch):
    """A store that has the tiny set, and its subject."""
    store = LayoutStore.create(scratch / "doctor-store")
    reference = Reference.parse("tiny:main")
    add(store, reference, tiny, Catalog([]), ask=lambda terms: "test")
    entry = store.tags()["tiny:main"]
    return preflight.Subject(store, reference, entry, preflight.read_manifest(store, entry))


@pytest.fixture
def data(clips, tmp_path):
    shutil.copytree(clips, tmp_path / "data")
    return tmp_path / "data"


def findings(dataset, view=None, **changes):
    """What a survey finds, as topic -> messages of what is not harmless."""
    found = {}
    for finding in survey_dataset(quick(dataset, **changes), view=view).findings:
        found.setdefault(finding.topic, []).append((finding.fatal, finding.message))
    return found


def write_wav(path, *, rate=22050, channels=1, width=2, seconds=1.0):
    with wave.open(str(path), "wb") as clip:
        clip.setnchannels(channels)
        clip.setsampwidth(width)
        clip.setframerate(rate)
        frame = (b"\x10\x20" if width == 2 else b"\x90") * channels
        clip.writeframes(frame * int(rate * seconds))


def test_core_without_torch_says_what_is_missing_and_is_content(tmp_path, clips):
    code = (
        "import sys\n"
        "for name in ('torch', 'torchaudio', 'TTS', 'trainer'): sys.modules[name] = None\n"
        "from xttsreg.cli import main\n"
        f"sys.exit(main(['doctor', '--json', '--store', {str(tmp_path)!r} + '/none',"
        f" '--dataset', {str(clips)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["training"]["level"] == "warn"
    assert "xttsreg[train" in checks["training"]["action"]
    assert checks["store"]["level"] == "warn"
    assert checks["metadata"]["level"] == "ok"
    assert checks["clips"]["level"] == "warn"


def test_the_pins_are_those_of_the_extra():
    pins, newer = training_pins(STOCK), training_pins(NEXT)
    assert pins["tts"] == "0.22.0"
    assert pins["transformers"] == "4.40.2"
    assert newer["coqui-tts"] == "0.28.0"
    assert not {"pytest", "coqui-tts"} & set(pins)
    assert not {"pytest", "tts"} & set(newer)


def test_exit_code_is_the_first_failures(tmp_path, capsys):
    arguments = ["doctor", "--store", str(tmp_path), "--model", "nope:v1", "--json"]
    code = main([*arguments, "--dataset", str(tmp_path / "nowhere")])
    printed = json.loads(capsys.readouterr().out)
    failed = [check for check in printed["checks"] if check["level"] == "fail"]
    assert [check["name"] for check in failed] == ["weights", "metadata"]
    assert code == printed["exit_code"] == failed[0]["exit_code"] == 5  # there is no store
    assert failed[1]["exit_code"] == 2


@pytest.mark.train
def test_table_for_people_is_one_line_each(stocked, capsys):
    assert main(["doctor", "--store", str(stocked.store.root), "--model", "tiny:main"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert {line.split()[0] for line in lines} <= {"OK", "WARN"}
    assert any("weights" in line and "digests right" in line for line in lines)
    assert any("contents" in line and "go together" in line for line in lines)
    assert printed.err.endswith(" 0 failures\n")


def test_files_that_are_not_what_they_are_called(tmp_path, capsys):
    store = filled_store(tmp_path / "store", make_small_set(tmp_path / "weights"))
    assert main(["doctor", "--store", str(store.root), "--model", "own:v1"]) == 2
    assert "own:v1/model.pth is of the kind unknown, not inference" in capsys.readouterr().out


@pytest.mark.train
@pytest.mark.parametrize(
    ("replaced", "code", "text"),
    [
        ({"dvae": "mel_stats"}, 2, "own:v1/dvae.pth is of the kind mel_stats, not dvae"),
        ({"vocab": b'{"model": {"vocab": {"a": 1}}}'}, 4, "has 2 tokens"),
    ],
)
def test_files_that_do_not_go_together(variant, tiny, tmp_path, capsys, replaced, code, text):
    def content(value):
        return (tiny / f"{value}.pth").read_bytes() if isinstance(value, str) else value

    view = variant(**{name: content(value) for name, value in replaced.items()})
    store = filled_store(tmp_path / "store", view)
    assert main(["doctor", "--store", str(store.root), "--model", "own:v1"]) == code
    assert text in capsys.readouterr().out


def test_a_damaged_blob_is_a_failure_4(tmp_path, capsys):
    from support import blob_file, damage

    store = filled_store(tmp_path / "store", make_small_set(tmp_path / "weights"))
    damage(blob_file(store, "dvae.pth"))
    assert main(["doctor", "--store", str(store.root), "--model", "own:v1"]) == 4
    assert "dvae.pth missing or damaged" in capsys.readouterr().out


@pytest.mark.train
def test_everything_fine(stocked, clips, capsys):
    arguments = ["doctor", "--store", str(stocked.store.root), "--model", "tiny:main", "--json"]
    code = main([*arguments, "--dataset", str(clips), "--device", "cpu"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert code == 0
    expected = "training packages TTS store weights licence metadata clips audio lengths texts"
    assert {*expected.split(), "names", "split", "disk"} <= set(checks)
    assert [name for name, check in checks.items() if check["level"] == "fail"] == []
    assert checks["split"]["message"] == "4 to train, 2 to evaluate"


@pytest.mark.train
def test_other_versions_than_the_pins_are_named(monkeypatch, tts):
    pins = {"torch": "0.0.1", "no-such-package": "1"}
    monkeypatch.setattr(preflight_machine, "training_pins", lambda engine: pins)
    (check,) = preflight_machine.check_pins()
    assert check.level == "warn"
    assert "(pin 0.0.1)" in check.message
    assert "no-such-package is missing" in check.message


def test_kernels_of_a_gpu():
    require = preflight_machine._require_kernels
    built = ["sm_50", "sm_80", "sm_86", "sm_90"]
    for major, minor in [(5, 0), (8, 6), (8, 9), (9, 0)]:
        require("GPU", major, minor, built)
    with pytest.raises(preflight.XttsregError, match="sm_120"):
        require("Blackwell", 12, 0, built)


# --- the dataset ------------------------------------------------------------------------------


def rewrite(data, change, encoding="utf-8"):
    path = data / "metadata.csv"
    path.write_bytes(change(path.read_text("utf-8")).encode(encoding))


@pytest.mark.train
@pytest.mark.parametrize(
    ("change", "encoding", "text"),
    [
        (lambda t: "\ufeff" + t, "utf-8", "byte order mark"),
        (lambda t: t, "utf-16", "UTF-16"),
        (lambda t: t.replace("The", "Thé", 1), "latin-1", r"line 1: byte 0xe9 is not UTF-8"),
        (lambda t: t + "clip_0001|two\n", "utf-8", "line 7: 2 columns"),
        (lambda t: t.replace("\n", "\n\n", 1), "utf-8", "line 2: an empty line"),
    ],
)
def test_metadata_that_cannot_be_read(data, tts, change, encoding, text):
    rewrite(data, change, encoding)
    with pytest.raises(InvalidDataset, match=text):
        load_dataset(quick(data))


@pytest.mark.train
def test_metadata_that_can(data, tts):
    rewrite(data, lambda t: t.replace("\n", "\r\n").replace("\r\n", "|more\r\n", 2))
    found = findings(data)
    assert [message for _, message in found["metadata"]] == [
        "metadata.csv has CRLF line ends; TTS reads them well",
        "2 lines have more than 3 columns: TTS reads the third, and drops the rest",
    ]
    assert load_dataset(quick(data)).summary.clips == 6


@pytest.mark.train
def test_a_path_that_leaves_the_dataset(data, tts, tmp_path):
    shutil.copy(data / "wavs" / "clip_0001.wav", tmp_path / "outside.wav")
    rewrite(data, lambda t: t.replace("clip_0001", "../../outside"))
    with pytest.raises(InvalidDataset, match=r"1 of 6 clips lie outside.*outside\.wav"):
        load_dataset(quick(data))


@pytest.mark.train
def test_clips_that_are_none(data, tts):
    wavs = data / "wavs"
    (wavs / "clip_0001.wav").write_bytes(b"")
    (wavs / "clip_0002.wav").unlink()
    (wavs / "clip_0002.wav").mkdir()
    (wavs / "clip_0003.wav").write_text("no audio")
    (wavs / "clip_0004.wav").unlink()
    found = findings(data)["clips"]
    assert [fatal for fatal, _ in found] == [True, True]
    assert "1 of 6 clips are missing" in found[0][1]
    assert "clip_0001.wav: the clip is an empty file and 2 more" in found[1][1]
    (wavs / "clip_0001.wav").unlink()
    (wavs / "clip_0004.wav").mkdir()
    assert "is a directory" in findings(data)["clips"][1][1]


@pytest.mark.train
def test_odd_clips_are_named_and_trained_on(data, tts):
    wavs = data / "wavs"
    write_wav(wavs / "clip_0001.wav", channels=2)
    write_wav(wavs / "clip_0002.wav", width=1)
    write_wav(wavs / "clip_0003.wav", rate=96000)
    write_wav(wavs / "clip_0004.wav", rate=8000)
    write_wav(wavs / "clip_0005.wav", seconds=0.2)
    found = findings(data)
    assert [message for _, message in found["audio"]] == [
        "1 clip with several channels",
        "1 clip with 8 bits a sample",
        "1 clip with less than 22050 Hz",
        "1 clip with more than 48000 Hz",
    ]
    assert "1 clip shorter than 0.5 s" in found["lengths"][0][1]
    loaded = load_dataset(quick(data))
    assert loaded.summary.clips == 5
    assert len(loaded.summary.warnings) == 5


@pytest.mark.train
def test_texts_and_names(data, tiny):
    def change(text):
        lines = text.splitlines()
        lines[0] = lines[0] + " 你"
        lines[1] = "clip_0002|x| "
        return "\n".join([*lines, lines[2], "clip_0004|x|another text"]) + "\n"

    rewrite(data, change)
    found = findings(data, view=tiny)
    texts = sorted(message for _, message in found["texts"])
    assert "1 clip with characters the tokenizer does not know" in texts[0]
    assert "('你')" in texts[0]
    assert "1 clip without text" in texts[1]
    (names,) = found["names"]
    assert "2 clips more than once in metadata.csv, 1 of them with different" in names[1]


@pytest.mark.train
def test_the_coqui_formatters_silent_losses(data, tts):
    lines = ["audio_file|text|speaker_name"]
    lines += [f"wavs/clip_000{n}.wav|A text.|me" for n in (1, 2, 3)]
    lines += ["wavs/nowhere.wav|A text.|me", "wavs/clip_0004.wav||me"]
    (data / "metadata.csv").write_text("\n".join(lines), "utf-8")
    found = findings(data, formatter="coqui")
    assert found["metadata"][0][1] == "1 of 5 lines give no clip, and TTS leaves them out"
    assert "1 clip without text" in found["texts"][0][1]
    (data / "metadata.csv").write_text("file|text\nwavs/clip_0001.wav|x\n", "utf-8")
    with pytest.raises(InvalidDataset, match="no column audio_file"):
        load_dataset(quick(data, formatter="coqui"))


@pytest.mark.train
def test_splits(data, tts):
    rows = (data / "metadata.csv").read_text("utf-8").splitlines(keepends=True)
    (data / "eval.csv").write_text(rows[0], "utf-8")
    found = findings(data, metadata_eval="eval.csv")
    assert "1 clip both for training and for evaluation" in found["split"][0][1]
    (data / "eval.csv").write_text("clip_0001|x| \n", "utf-8")
    assert findings(data, metadata_eval="eval.csv")["split"][0][0] is True
    (data / "metadata.csv").write_text(rows[0], "utf-8")
    assert "cannot be split" in findings(data)["split"][0][1]


def test_language_packages(monkeypatch):
    from xttsreg.training import packages

    there = {"cutlet", "pypinyin"}
    monkeypatch.setattr(packages, "_is_there", lambda module: module in there)
    assert missing_for("ja") == ["unidic-lite"]
    assert missing_for("zh-cn") == []
    korean = {STOCK: "hangul-romanize", NEXT: "ko-speech-tools"}
    assert missing_for("ko") == [korean[find_engine() or suggested()]]
    assert missing_for("hi") == missing_for("en") == []
    there.add("unidic")
    require_language("ja")
    there.clear()
    with pytest.raises(MissingDependency, match="cutlet, unidic-lite"):
        require_language("ja")


@pytest.mark.train
def test_checkpoints_take_what_was_foreseen(stocked, finished):
    """The estimate, held against the checkpoint that the real trainer wrote."""
    actual = finished[0].best_checkpoint.stat().st_size
    assert preflight_plan.checkpoint_bytes(stocked) == pytest.approx(actual, rel=0.02)


@pytest.mark.train
def test_a_full_disk_stops_before_the_run(stocked, clips, monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    one = preflight_plan.checkpoint_bytes(stocked)
    free = [one]
    monkeypatch.setattr(
        preflight_plan.shutil, "disk_usage", lambda path: usage._replace(free=free[0])
    )
    with pytest.raises(InsufficientSpace):
        preflight.before_run(stocked, quick(clips), tmp_path / "run", lambda line: None)
    free[0] = 2 * one
    notes = []
    preflight.before_run(stocked, quick(clips), tmp_path / "run", notes.append)
    assert any("a run takes up to" in note for note in notes)


@pytest.mark.train
def test_gpu_memory_grows_with_the_batch(stocked):
    model = summarize(stocked.file("model.pth"))
    one, three = preflight_plan.gpu_bytes(model, 1), preflight_plan.gpu_bytes(model, 3)
    assert 0 < three - one < 2 * one
    assert preflight_plan.gpu_bytes(model, 1, samples=22050) < one
