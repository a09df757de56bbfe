"""Voices that leave the store, and voices that speak."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from support import ROOT, make_small_set, never_ask, tree

from xttsreg.catalog import Catalog
from xttsreg.cli import main
from xttsreg.content.reference import Reference
from xttsreg.errors import AlreadyExists, InvalidInputError, InvalidModel
from xttsreg.ops.add import add
from xttsreg.ops.export import export
from xttsreg.stores.layout import LayoutStore
from xttsreg.training.finetune import finetune
from xttsreg.training.request import Request
from xttsreg.training.synth import synthesize

from .conftest import quick


@pytest.fixture(scope="module")
def exported(voice_store, scratch):
    store, _ = voice_store
    export(store, Reference.parse("me:v1"), scratch / "exported")
    return scratch / "exported"


@pytest.mark.train
def test_folder_holds_voice_terms_and_lineage(exported, voice_store, clips):
    names = {path.name for path in exported.iterdir()}
    expected = {"model.pth", "config.json", "vocab.json", "speakers_xtts.pth", "LICENSE.txt"}
    assert names == expected | {"reference.wav", "training.json", "lineage.json"}
    assert (exported / "reference.wav").read_bytes() == (clips / "reference.wav").read_bytes()
    origin = json.loads((exported / "lineage.json").read_text("utf-8"))
    store, done = voice_store
    assert origin["reference"] == "me:v1"
    assert origin["digest"] == done.manifest.digest
    assert origin["base"] == f"tiny:main@{store.tags()['tiny:main'].digest}"
    assert origin["dataset"].startswith("sha256:")
    assert origin["facts"]["proof"] == "687/687"
    for path, file in origin["files"].items():
        assert hashlib.sha256((exported / path).read_bytes()).hexdigest() == file["sha256"]
    assert set(origin["files"]) == names - {"lineage.json"}


@pytest.fixture(scope="module")
def stock(exported):
    """The exported folder, loaded by nothing but TTS."""
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.models.xtts import Xtts

    config = XttsConfig()
    config.load_json(str(exported / "config.json"))
    model = Xtts.init_from_config(config)
    model.load_checkpoint(config, checkpoint_dir=str(exported), strict=True)
    return model, config


@pytest.mark.train
def test_stock_loads_it_strictly(stock, exported):
    import torch

    model, _ = stock
    held = torch.load(exported / "model.pth", weights_only=True)["model"]
    state = model.state_dict()
    assert all(state[name].equal(value) for name, value in held.items())


@pytest.mark.train
def test_what_is_done_to_the_folder_stays_there(voice_store, tmp_path):
    store, _ = voice_store
    before = tree(store.root)
    export(store, Reference.parse("me:v1"), tmp_path / "out")
    with (tmp_path / "out" / "vocab.json").open("r+b") as file:
        file.truncate()
    assert tree(store.root) == before
    with pytest.raises(AlreadyExists):
        export(store, Reference.parse("me:v1"), tmp_path / "out")


def test_a_weight_set_leaves_what_only_training_needs(filled, tmp_path, capsys):
    arguments = ["export", "own:v1", str(tmp_path / "out"), "--store", str(filled.root), "--json"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["files"] == sorted(
        path.name for path in (tmp_path / "out").iterdir() if path.name != "lineage.json"
    ) + ["lineage.json"]
    assert not {"dvae.pth", "mel_stats.pth"} & set(printed["files"])


@pytest.mark.parametrize("moved", [0, 3, 5])
def test_one_that_was_cut_off_is_made_again(filled, tmp_path, monkeypatch, moved):
    """Wherever it was cut off: the lineage comes with the other files, not after them."""
    out, replace = tmp_path / "out", Path.replace

    def cut(self, target):
        if Path(target).parent == out and len(list(out.iterdir())) > moved:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            export(filled, Reference.parse("own:v1"), out)
    done = export(filled, Reference.parse("own:v1"), out)
    assert {path.name for path in out.iterdir()} == set(done.files)
    assert json.loads((out / "lineage.json").read_text("utf-8"))["reference"] == "own:v1"


def test_a_set_that_cannot_speak_is_refused(tmp_path):
    weights = make_small_set(tmp_path / "weights")
    (weights / "config.json").unlink()
    store = LayoutStore.create(tmp_path / "store")
    add(store, Reference.parse("own:v1"), weights, Catalog([]), ask=never_ask)
    with pytest.raises(InvalidModel, match=r"no config\.json"):
        export(store, Reference.parse("own:v1"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- synth ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spoken(voice_store, scratch):
    """A text file, spoken with the clip in the voice."""
    (scratch / "text.txt").write_text("\ufeffGood morning.\n", "utf-8")
    common = ["--language", "en", "--device", "cpu", "--seed", "3"]
    store = ["--store", str(voice_store[0].root)]
    file = ["--text-file", str(scratch / "text.txt"), "-o", str(scratch / "spoken.wav")]
    assert main(["synth", "me:v1", *file, *common, *store]) == 0
    return scratch / "spoken.wav"


@pytest.mark.train
def test_streams_from_stdin_to_stdout_what_a_file_would_hold(voice_store, spoken):
    command = [sys.executable, "-m", "xttsreg", "synth", "me:v1", "--text", "-", "-o", "-"]
    command += ["--language", "en", "--device", "cpu", "--seed", "3"]
    command += ["--store", str(voice_store[0].root)]
    done = subprocess.run(command, input=b"Good morning.", cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout[:4] == b"RIFF"
    whole = spoken.read_bytes()
    assert done.stdout[44:] == whole[44:]  # the same samples; only the lengths are not known yet
    with wave.open(str(spoken)) as clip:
        assert clip.getnframes() * 2 == len(whole) - 44


@pytest.mark.train
def test_it_is_said_as_stock_would_say_it(stock, clips):
    import torch

    from xttsreg.training.synth import _speak

    model, config = stock
    speaker = clips / "reference.wav"
    torch.manual_seed(5)
    names = dict.fromkeys(inspect.signature(model.synthesize).parameters)
    given = {"config": config} if "speaker" not in names else {}  # coqui-tts has its own
    theirs = model.synthesize("Hello there.", speaker_wav=str(speaker), language="en", **given)
    theirs = theirs["wav"]
    (ours,) = _speak(model, config, "Hello there.", "en", speaker, 5)
    assert (theirs == ours).all()


@pytest.mark.train
def test_long_texts_are_split_in_every_language(stock):
    from xttsreg.training.synth import _pieces

    limits = stock[0].tokenizer.char_limits
    assert len(_pieces("A sentence of some length. " * 12, "en", limits)) == 2
    assert len(_pieces("एक वाक्य। " * 40, "hi", limits)) > 1  # stock: KeyError
    assert len(_pieces("你好。" * 40, "zh", limits)) > 1
    assert _pieces("Short.", "en", limits) == ["Short."]


@pytest.mark.train
def test_a_stream_gets_each_piece_at_once(tts):
    import numpy as np

    from xttsreg.training.wav import stream_wav

    sink, seen = io.BytesIO(), []

    def pieces():
        for count in (10, 20):
            seen.append(len(sink.getvalue()))
            yield np.full(count, 2.0)

    assert stream_wav(sink, pieces(), 24000) == 30
    assert seen == [44, 64]
    assert sink.getvalue()[44:] == b"\xff\x7f" * 30  # clipped, not wrapped around


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "--text"),
        (["--text", "a", "--text-file", "b"], "--text"),
        (["--text-file", "nowhere.txt"], "No such file"),
        (["--text", "a", "-o", "-", "--json"], "both want standard output"),
    ],
)
def test_refusals(filled, tmp_path, capsys, arguments, text):
    output = [] if "-o" in arguments else ["-o", str(tmp_path / "out.wav")]
    common = ["--language", "en", "--store", str(filled.root)]
    assert main(["synth", "own:v1", *arguments, *output, *common]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.train
def test_a_voice_without_a_clip_wants_one(tiny, tmp_path):
    with pytest.raises(InvalidInputError, match="no reference clip of its own"):
        synthesize(tiny, "Hi.", language="en", output=tmp_path / "o.wav")


@pytest.mark.train
def test_a_clip_that_is_no_wav_becomes_one(clips, tmp_path, tts):
    import soundfile

    from xttsreg.training.clips import check_reference
    from xttsreg.training.reference_clip import keep_reference

    samples, rate = soundfile.read(str(clips / "reference.wav"), dtype="int16")
    soundfile.write(str(tmp_path / "clip.flac"), samples, rate)
    check_reference(tmp_path / "clip.flac")
    kept = keep_reference(tmp_path / "clip.flac", tmp_path)
    again, _ = soundfile.read(str(kept), dtype="int16")
    assert soundfile.info(str(kept)).format == "WAV"
    assert (again == samples).all()


@pytest.mark.train
def test_an_unusable_clip_stops_before_the_run(voice_store, clips, tmp_path):
    store, _ = voice_store
    request = Request(
        model=Reference.parse("tiny:main"),
        voice=Reference.parse("other:v1"),
        options=quick(clips),
        output=tmp_path / "run",
        speaker_wav=clips / "metadata.csv",
    )
    with pytest.raises(InvalidInputError, match="not readable as audio"):
        finetune(store, Catalog([]), request, ask=never_ask)
    assert not (tmp_path / "run").exists()
