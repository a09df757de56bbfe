"""What stock loads without a word must stop here."""

from __future__ import annotations

import json

import pytest

from xttsreg.errors import IntegrityError, InvalidModel, RestoreIncomplete, UnsafePickle
from xttsreg.training.checkpoint import load_checked, load_model_state, safe_loading
from xttsreg.training.construct import construct
from xttsreg.training.proof import prove_restore
from xttsreg.training.recipe import build_config
from xttsreg.training.run import train

from .conftest import quick

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("tts")]


@pytest.fixture(scope="module")
def model(tiny, clips):
    return construct(build_config(tiny, quick(clips), tiny / "out"), tiny)


def build(view, clips):
    model = construct(build_config(view, quick(clips), view / "out"), view)
    return prove_restore(model, view)


def test_all_restored(model, tiny):
    proof = prove_restore(model, tiny)
    assert str(proof) == "687 / 687"
    assert proof.total == len(model.state_dict())
    assert {name: part.total for name, part in proof.parts.items()} == {
        "gpt": 90,
        "speaker_encoder": 295,
        "hifigan_decoder": 241,
        "mel_stats": 1,
        "dvae": 56,
        "mel_spectrogram": 4,
    }
    assert proof.as_dict()["parts"]["dvae"] == {"restored": 56, "total": 56}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("xtts.gpt.mel_head.bias", "gpt"),
        ("xtts.hifigan_decoder.waveform_decoder.conv_post.weight", "hifigan_decoder"),
        ("xtts.hifigan_decoder.speaker_encoder.conv1.weight", "speaker_encoder"),
        ("dvae.codebook.embed", "dvae"),
        ("torch_mel_spectrogram_dvae.mel_stft.mel_scale.fb", "mel_spectrogram"),
        ("xtts.mel_stats", "mel_stats"),
    ],
)
def test_one_changed_value_is_found(model, tiny, name, part):
    tensor = dict(model.state_dict())[name]
    kept = tensor.flatten()[0].item()
    tensor.view(-1)[0] = kept + 1e-3
    try:
        with pytest.raises(RestoreIncomplete, match=part) as caught:
            prove_restore(model, tiny)
    finally:
        tensor.view(-1)[0] = kept
    assert name in caught.value.different
    assert caught.value.exit_code == 4


def renamed(state, prefix):
    return {(f"old.{name}" if name.startswith(prefix) else name): v for name, v in state.items()}


def test_stock_accepts_renamed_keys_in_silence(variant, tiny, clips):
    from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer

    state = renamed(load_model_state(tiny / "model.pth"), "gpt.")
    view = variant(model={"model": state}, dvae=renamed(load_checked(tiny / "dvae.pth"), ""))
    with safe_loading():  # no other change to stock
        model = GPTTrainer.init_from_config(build_config(view, quick(clips), view / "out"))
    with pytest.raises(RestoreIncomplete, match=r"gpt 0 / 90, dvae 0 / 56") as caught:
        prove_restore(model, view)
    assert len(caught.value.missing) == len(caught.value.unexpected) == 146
    assert "541 / 687" in caught.value.message


def gpt_absent(tiny):
    state = load_model_state(tiny / "model.pth")
    return {"model": {"model": {n: v for n, v in state.items() if not n.startswith("gpt.")}}}


def one_absent(tiny):
    state = load_model_state(tiny / "model.pth")
    del state["gpt.final_norm.weight"]
    return {"model": {"model": state}}


def one_too_many(tiny):
    state = load_model_state(tiny / "model.pth")
    return {"model": {"model": {**state, "gpt.extra.weight": state["mel_stats"]}}}


def dvae_nested(tiny):
    return {"dvae": {"model": dict(load_checked(tiny / "dvae.pth"))}}


def stats_zero(tiny):
    return {"mel_stats": load_checked(tiny / "mel_stats.pth") * 0}


def stats_nan(tiny):
    return {"mel_stats": load_checked(tiny / "mel_stats.pth") * float("nan")}


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (gpt_absent, "gpt"),
        (one_absent, "gpt"),
        (one_too_many, "gpt"),
        (dvae_nested, "dvae"),
        (stats_zero, "mel_stats"),
        (stats_nan, "mel_stats"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_silent_cases_stop_before_the_first_step(variant, tiny, clips, tmp_path, make, part):
    view = variant(**make(tiny))
    events = []
    with pytest.raises(RestoreIncomplete, match=part):
        train(view, quick(clips), tmp_path / "run", on_event=events.append)
    assert {event["event"] for event in events} <= {"dataset", "model"}
    assert not (tmp_path / "run").exists()


def grown(tiny):
    vocab = json.loads((tiny / "vocab.json").read_text(encoding="utf-8"))
    vocab["model"]["vocab"]["zz"] = len(vocab["model"]["vocab"])
    return json.dumps(vocab).encode()


@pytest.mark.parametrize(
    ("replaced", "error", "text"),
    [
        (
            lambda v: {"model": (v / "model.pth").read_bytes()[:50000]},
            IntegrityError,
            "cut off or damaged",
        ),
        (
            lambda v: {"dvae": (v / "dvae.pth").read_bytes()[:-9000]},
            IntegrityError,
            "cut off or damaged",
        ),
        (lambda v: {"dvae": b"<!doctype html>"}, IntegrityError, "web page"),
        (lambda v: {"mel_stats": b""}, IntegrityError, "the file is empty"),
        (lambda v: {"model": b"GIF89a"}, IntegrityError, "neither a zip archive"),
        (lambda v: {"model": {"weights": 1}}, InvalidModel, "no 'model' entry"),
        (lambda v: {"vocab": grown(v)}, RestoreIncomplete, "tokens"),
        (lambda v: {"vocab": b"{}"}, InvalidModel, "tokenizer"),
        (lambda v: {"mel_stats": load_checked(v / "mel_stats.pth")[:40]}, RestoreIncomplete, "40"),
        (lambda v: {"config": b"{"}, InvalidModel, "JSON"),
        (lambda v: {"dvae": None, "mel_stats": None}, InvalidModel, "dvae.pth, mel_stats.pth"),
        (lambda v: {"model": None}, InvalidModel, "no model.pth"),
    ],
)
def test_loud_cases_are_one_clear_error(variant, tiny, clips, tmp_path, replaced, error, text):
    view = variant(**replaced(tiny))
    with pytest.raises(error, match=text):
        train(view, quick(clips), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_architecture_is_a_mismatch(variant, tiny, clips):
    config = json.loads((tiny / "config.json").read_text())
    config["model_args"]["gpt_n_model_channels"] = 128
    with pytest.raises(RestoreIncomplete, match="another shape"):
        build(variant(config=json.dumps(config).encode()), clips)


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/xttsreg-was-here",)


def test_foreign_pickle_is_refused_unread(variant, clips, tmp_path):
    with pytest.raises(UnsafePickle, match="system"):
        train(variant(model={"model": {}, "x": Evil()}), quick(clips), tmp_path / "run")


def test_a_view_without_config_key_is_a_base(variant, tiny, clips):
    assert build(variant(model={"model": load_model_state(tiny / "model.pth")}), clips).total == 687


def test_a_view_in_the_runs_folder_is_left_alone(variant, tiny, clips, tmp_path):
    view = variant(**stats_zero(tiny))
    with pytest.raises(RestoreIncomplete):
        train(view, quick(clips), view.parent)
    assert [path.name for path in tmp_path.iterdir()] == ["view"]
    assert len(list(view.iterdir())) == 8
