"""Two engines: which one is here, which one fits, and what a voice or a run is to the other."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from support import ROOT, tree

from xttsreg.content.checkpoint import CONFIG_CLASSES, summarize
from xttsreg.content.reference import Reference
from xttsreg.errors import MissingDependency
from xttsreg.training import engine
from xttsreg.training.engine import NEXT, STOCK, suggested
from xttsreg.training.speak import speak


def pretend(monkeypatch, python=(3, 11), **versions):
    """These distributions are installed, by their names with _ for -, and nothing else."""
    there = {name.replace("_", "-"): version for name, version in versions.items()}
    monkeypatch.setattr(engine, "version_of", there.get)
    monkeypatch.setattr(engine.sys, "version_info", (*python, 0))
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("python", "versions", "message", "hint", "extra"),
    [
        ((3, 11), {}, "needs TTS which", "xttsreg[train]", "train"),
        ((3, 12), {}, "needs coqui-tts", "xttsreg[train-next]", "train-next"),
        ((3, 10), {}, "TTS needs Python 3.11, this is 3.10", "another Python", "train"),
        ((3, 11), {"TTS": "1", "coqui_tts": "1"}, "overwritten", "one of xttsreg[train]", "train"),
        ((3, 12), {"TTS": "0.22.0"}, "TTS 0.22.0 needs Python 3.11, this is 3.12",
         "xttsreg[train-next]", "train"),
        ((3, 15), {"coqui_tts": "0.28.0"}, "3.12 to 3.14", "another Python", "train-next"),
        ((3, 12), {"coqui_tts": "0.28.0"}, "needs torch, torchaudio, TTS, trainer",
         "xttsreg[train-next]", "train-next"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(monkeypatch, python, versions, message, hint, extra):
    pretend(monkeypatch, python, **versions)
    with pytest.raises(MissingDependency) as caught:
        engine.require_engine()
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.extra == extra


def test_which_one_fits():
    assert suggested(python=(3, 11)) is suggested(python=(3, 11), gpu="9.0") is STOCK
    assert suggested(python=(3, 12)) is suggested(python=(3, 11), gpu="12.0") is NEXT
    assert suggested(python=(3, 11), gpu="[N/A]") is STOCK


@pytest.mark.train
def test_sets_are_made_with_upstreams_names(tiny):
    """Whichever engine makes them: the file is one that both read."""
    assert {name for name in summarize(tiny / "model.pth").globals if "TTS." in name} == {
        *CONFIG_CLASSES
    }


@pytest.mark.train
def test_speaking_leaves_the_base_as_it_is(voice_store, clips, tmp_path):
    """coqui-tts by itself writes a model.pth with upstream's pickle anew, over the file it read."""
    store, _ = voice_store
    before = tree(store.root / "blobs")
    speak(
        store, Reference.parse("tiny:main"), "Hi.", language="en", device="cpu", seed=1,
        speaker_wav=clips / "reference.wav", output=tmp_path / "x.wav",
    )  # fmt: skip
    assert tree(store.root / "blobs") == before


@pytest.mark.train
def test_the_other_engine_speaks_with_a_voice_and_leaves_its_run_alone(voice_store, tmp_path):
    """Where XTTSREG_OTHER_PYTHON names the Python of an environment with the other engine."""
    python = os.environ.get("XTTSREG_OTHER_PYTHON")
    if not python:
        pytest.skip("XTTSREG_OTHER_PYTHON does not name a Python with the other engine")
    store, done = voice_store
    before = tree(store.root / "blobs")

    def other(*args: object) -> subprocess.CompletedProcess[str]:
        command = [python, "-m", "xttsreg", *map(str, args), "--store", str(store.root)]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )

    for reference in ("me:v1", "tiny:main"):
        wav = tmp_path / f"{reference[:2]}.wav"
        reference_clip = Path(done.run.directory).parent / "clips" / "reference.wav"
        spoken = other(
            "synth", reference, "--text", "Hi.", "--language", "en", "--device", "cpu",
            "--speaker-wav", reference_clip, "-o", wav,
        )  # fmt: skip
        assert spoken.returncode == 0, spoken.stderr
        with wave.open(str(wav)) as clip:
            assert clip.getframerate() == 24000
            assert clip.getnframes() > 1000
    refused = other("train", "--resume", done.run.directory, "--epochs", "2")
    assert refused.returncode == 8, refused.stderr
    assert "its steps would be others" in refused.stderr
    assert tree(store.root / "blobs") == before
    assert sys.executable != python


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write to a blob, and may mount")
def test_roots_own_mount_is_read_only_and_nobody_elses(tmp_path):
    """In a process of its own, since that stays in its mount namespace."""
    code = """
import errno, sys
from pathlib import Path
from xttsreg.training.mounts import can_isolate, read_only
folder = Path(sys.argv[1])
for _ in range(2):
    with read_only(folder) as mounted:
        if not mounted:
            sys.exit(3 if not can_isolate(folder) else 1)
        try:
            (folder / "file").write_text("changed")
        except OSError as error:
            assert error.errno == errno.EROFS, error
        else:
            sys.exit("written")
        print(folder in map(Path, (line.split()[1] for line in open("/proc/1/mounts"))))
(folder / "file").write_text("afterwards")
"""
    (tmp_path / "file").write_text("before")
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode == 3:
        pytest.skip("mounts are not permitted here")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "False"]
    assert (tmp_path / "file").read_text() == "afterwards"
