"""One real run, and what comes out of it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from xttsreg.errors import AlreadyExists, InvalidInputError, InvalidModel, XttsregError
from xttsreg.training.checkpoint import load_checked, load_model_state
from xttsreg.training.engine import require_engine
from xttsreg.training.packages import training_pins
from xttsreg.training.plot import plot_losses
from xttsreg.training.proof import prove_restore
from xttsreg.training.result import StepLoss
from xttsreg.training.resume import refuse_checkpoint_as_run
from xttsreg.training.run import train
from xttsreg.training.synth import synthesize
from xttsreg.training.voice import extract_voice

from .conftest import quick

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("tts")]


def test_importing_the_modules_loads_no_torch():
    modules = ("run", "voice", "synth", "plot", "synthetic", "resume", "options", "guard", "proof")
    code = f"""import importlib, sys
for name in {modules}: importlib.import_module("xttsreg.training." + name)
sys.exit(bool({{"torch", "TTS", "trainer", "matplotlib"}} & set(sys.modules)))"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_losses(finished):
    result, _ = finished
    assert [loss.step for loss in result.step_losses] == [1, 2]
    assert [loss.step for loss in result.eval_losses] == [0, 2]
    assert all(math.isfinite(loss.loss) for loss in result.step_losses)
    assert result.eval_losses[1].loss < result.eval_losses[0].loss
    assert result.step_losses[0].lr == 1e-3


def test_events(finished):
    _, events = finished
    kinds = [event["event"] for event in events]
    expected = ["dataset", "model", "proof", "eval", "step", "step", "eval", "finished"]
    assert kinds == expected


def test_folder(finished):
    result, _ = finished
    proof = json.loads((result.directory / "proof.json").read_text())
    assert (proof["restored"], proof["total"]) == (687, 687)
    run = json.loads((result.directory / "run.json").read_text())
    assert run["state"] == "finished"
    assert run["proof"] == proof
    here = require_engine()
    assert run["versions"][here.tts.lower()] == training_pins(here)[here.tts.lower()]
    lines = (result.directory / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["eval", *["step"] * 2, "eval"]
    log = (result.directory / "trainer_0_log.txt").read_text()
    assert (log.count("EPOCH: 0/"), log.count("Training Environment")) == (1, 1)
    assert result.violations == ()


def test_training_moves_gpt_and_nothing_else(finished, tiny):
    result, _ = finished
    base, trained = load_model_state(tiny / "model.pth"), load_model_state(result.best_checkpoint)
    assert list(base) == list(trained)
    moved = {name for name in base if not base[name].equal(trained[name])}
    assert moved
    assert {name.split(".")[0] for name in moved} == {"gpt"}


@pytest.fixture(scope="module")
def voice(finished, tiny, scratch):
    extract_voice(finished[0], tiny, scratch / "voice")
    return scratch / "voice"


def test_voice_holds_tensors_only(voice, tiny):
    content = load_checked(voice / "model.pth")
    assert set(content) == {"model"}
    assert list(content["model"]) == list(load_model_state(tiny / "model.pth"))
    names = {path.name for path in voice.iterdir()}
    expected = {"model.pth", "config.json", "vocab.json", "speakers_xtts.pth", "LICENSE.txt"}
    assert names == expected


def test_voice_repeats(finished, tiny, voice, tmp_path):
    extract_voice(finished[0], tiny, tmp_path)
    assert (tmp_path / "model.pth").read_bytes() == (voice / "model.pth").read_bytes()


def test_voice_of_a_base_without_config_gets_one(finished, variant, voice, tmp_path):
    extract_voice(finished[0], variant(config=None), tmp_path / "voice")
    written = json.loads((tmp_path / "voice" / "config.json").read_text())
    original = json.loads((voice / "config.json").read_text())
    assert written["model_args"]["gpt_n_model_channels"] == 64
    assert set(written) == set(original)
    assert str(tmp_path) not in json.dumps(written)


def test_stock_loads_the_voice_strictly(voice):
    import torch
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.models.xtts import Xtts

    assert torch.load(voice / "model.pth", weights_only=True)
    config = XttsConfig()
    config.load_json(str(voice / "config.json"))
    model = Xtts.init_from_config(config)
    model.load_checkpoint(config, checkpoint_dir=str(voice), eval=True, strict=True)


def test_voice_without_dvae_is_refused_as_base_and_works_with_it(voice, tiny, clips, tmp_path):
    from xttsreg.training.construct import construct
    from xttsreg.training.recipe import build_config

    with pytest.raises(InvalidModel, match="inference-only"):
        train(voice, quick(clips), tmp_path / "run")
    view = tmp_path / "view"
    view.mkdir()
    for name in ("model.pth", "config.json", "vocab.json"):
        (view / name).symlink_to(voice / name)
    for name in ("dvae.pth", "mel_stats.pth"):
        (view / name).symlink_to(tiny / name)
    model = construct(build_config(view, quick(clips), tmp_path / "run"), view)
    assert str(prove_restore(model, view)) == "687 / 687"


def test_synth(voice, clips, tmp_path):
    output = tmp_path / "out.wav"
    result = synthesize(
        voice,
        "Hi.",
        language="en",
        speaker_wav=clips / "reference.wav",
        output=output,
        seed=1,
        device="cpu",
    )
    with wave.open(str(output)) as clip:
        assert (clip.getframerate(), clip.getnchannels(), clip.getsampwidth()) == (24000, 1, 2)
        assert result.seconds == pytest.approx(clip.getnframes() / 24000, abs=0.001)
        assert clip.getnframes() > 1000
    assert [path.name for path in tmp_path.iterdir()] == ["out.wav"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"text": " "}, "no text"),
        ({"language": "xx"}, "does not speak"),
        ({"speaker_wav": "nowhere.wav"}, "no such speaker"),
        ({"speaker_wav": "metadata.csv"}, "not readable"),
        ({"output": "nowhere/out.wav"}, "no such directory"),
    ],
)
def test_synth_refusals(voice, clips, tmp_path, changes, text):
    given = {"text": "Hi.", "language": "en", "speaker_wav": "reference.wav", "output": "o.wav"}
    given.update(changes)
    with pytest.raises(InvalidInputError, match=text):
        synthesize(
            voice,
            given["text"],
            language=given["language"],
            speaker_wav=clips / given["speaker_wav"],
            output=tmp_path / given["output"],
        )


def test_inference_checkpoint_is_no_run(tiny, finished):
    for path in (tiny, tiny / "model.pth"):
        with pytest.raises(InvalidModel, match="0 / N layers are restored.*KeyError 'step'"):
            refuse_checkpoint_as_run(path)
    with pytest.raises(InvalidModel, match="no checkpoint of a run"):
        refuse_checkpoint_as_run(tiny / "dvae.pth")
    refuse_checkpoint_as_run(finished[0].directory)
    refuse_checkpoint_as_run(finished[0].best_checkpoint)


def test_a_folder_in_use_is_refused(finished, tiny, clips):
    result, _ = finished
    with pytest.raises(AlreadyExists):
        train(tiny, quick(clips), result.directory)


def test_interrupt_saves_a_checkpoint(tiny, clips, tmp_path, capsys):
    output = tmp_path / "run"

    def stop(event):
        print(event["event"])  # noqa: T201
        if event["event"] == "step" and event["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny, quick(clips, eval_split=0), output, on_event=stop)
    assert (output / "checkpoint_2.pth").is_file()
    assert json.loads((output / "run.json").read_text())["state"] == "interrupted"
    # a listener has the real standard output; nobody else writes to it
    assert capsys.readouterr().out.split() == ["dataset", "model", "proof", "step", "step"]
    (output / "checkpoint_2.pth").unlink()


def test_a_connection_from_inside_ends_the_run(tiny, clips, tmp_path):
    from xttsreg.errors import OfflineViolation

    def leave(event):
        if event["event"] == "step":
            import requests

            requests.get("http://192.0.2.1/", timeout=5)

    with pytest.raises(OfflineViolation) as caught:
        train(tiny, quick(clips, eval_split=0), tmp_path / "run", on_event=leave)
    assert caught.value.host == "192.0.2.1"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "failed"


@pytest.mark.parametrize(("shown", "advice"), [(None, "nvidia-smi"), ("", "unset it")])
def test_unusable_device(tiny, clips, tmp_path, monkeypatch, shown, advice):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr("xttsreg.training.environment._SHOWN", shown)
    with pytest.raises(InvalidInputError, match="no usable GPU") as caught:
        train(tiny, quick(clips, device="cuda"), tmp_path / "run")
    assert advice in str(caught.value.hint)
    assert not (tmp_path / "run").exists()


def test_plot(tmp_path, finished):
    result, _ = finished
    plot_losses(result.step_losses, result.eval_losses, tmp_path / "few.png")
    many = [StepLoss(n, 1, 5 + 1 / n, 0.1, 5.0, 1e-6, 0.0) for n in range(1, 400)]
    plot_losses(many, [], tmp_path / "many.png")
    plot_losses([], [], tmp_path / "none.png")
    for path in tmp_path.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


def test_memory_that_runs_out_in_a_step(tiny, clips, tmp_path, monkeypatch):
    """By a real limit: the allocator's own words do not even say 'out of memory'."""
    resource = pytest.importorskip("resource")
    import torch
    from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer

    step, before = GPTTrainer.train_step, resource.getrlimit(resource.RLIMIT_AS)

    def starving(self, *args, **kwargs):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 1_000_000
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
        try:
            torch.empty(
                1 << 34, dtype=torch.uint8
            )  # a tiny step may fit into what was freed before
            return step(self, *args, **kwargs)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    monkeypatch.setattr(GPTTrainer, "train_step", starving)
    with pytest.raises(XttsregError, match="training stopped, memory ran out: ") as caught:
        train(tiny, quick(clips, eval_split=0), tmp_path / "run")
    assert "half the --batch-size and twice the --grad-accum" in caught.value.hint
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["state"] == "failed"
