"""Options and overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from xttsreg.errors import InvalidInputError
from xttsreg.training import options as module
from xttsreg.training.options import TrainOptions, parse_overrides, parse_scalar
from xttsreg.training.recipe import build_config

from .conftest import quick


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1e-3", 0.001),
        ("true", True),
        ("None", None),
        ("AdamW", "AdamW"),
        ("[1,2]", [1, 2]),
    ],
)
def test_values_are_json_or_text(text, value):
    assert parse_scalar(text) == value


@pytest.mark.parametrize("pair", ["lr", "=3", " =3"])
def test_malformed_override(pair):
    with pytest.raises(InvalidInputError, match="KEY=VALUE"):
        parse_overrides([pair])


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 0}, {"batch_size": 0}, {"lr": 0.0}, {"device": "tpu"}, {"workers": -1}],
)
def test_ranges(changes):
    with pytest.raises(InvalidInputError):
        TrainOptions(dataset=Path("x"), **changes)


def config_with(view, **overrides):
    return build_config(view, quick(Path("data"), overrides=overrides), Path("out"))


def test_config_is_the_stock_recipe(tiny):
    config = build_config(tiny, TrainOptions(dataset=Path("data")), Path("out"))
    assert config.optimizer == "AdamW"
    assert config.optimizer_params == {"betas": [0.9, 0.96], "eps": 1e-8, "weight_decay": 1e-2}
    assert config.lr == 5e-6
    assert config.model_args.max_wav_length == 255995
    assert config.model_args.gpt_num_audio_tokens == 1026
    assert config.model_args.gpt_layers == 2  # from the set's config.json
    assert config.test_sentences == []
    assert not config.model_args.gpt_checkpoint


def test_overrides_reach_nested_fields(tiny):
    config = config_with(
        tiny,
        **{"optimizer_params.eps": "1e-9", "model_args.max_text_length": "150", "lr": "1"},
    )
    assert config.optimizer_params["eps"] == 1e-9
    assert config.model_args.max_text_length == 150
    assert config.lr == 1.0


def test_unknown_key_names_near_ones(tiny):
    with pytest.raises(InvalidInputError) as caught:
        config_with(tiny, **{"model_args.max_text_lenght": "150"})
    assert "model_args.max_text_length" in caught.value.hint


def test_wrong_type_is_refused(tiny):
    with pytest.raises(InvalidInputError, match="expected int"):
        config_with(tiny, **{"batch_size": "many"})


def test_weight_files_cannot_be_overridden(tiny):
    with pytest.raises(InvalidInputError, match="--model"):
        config_with(tiny, **{"model_args.xtts_checkpoint": ""})


def test_missing_speaker_of_a_test_sentence_is_found_before(tiny):
    sentences = '[{"text": "Hi", "speaker_wav": "nowhere.wav", "language": "en"}]'
    with pytest.raises(InvalidInputError, match=r"nowhere\.wav"):
        config_with(tiny, test_sentences=sentences)


def test_processes_share_the_cores_for_loading_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cores", lambda: 16)
    shares = [module.default_workers(processes) for processes in (1, 4, 32, 0)]
    assert shares == [8, 4, 1, 8]
