"""The stock XTTS recipe of TTS 0.22.0 as a function of a view and options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xttsreg.errors import InvalidInputError, InvalidModel
from xttsreg.training.clips import check_reference
from xttsreg.training.engine import trainer_audio_config
from xttsreg.training.options import TrainOptions, apply_overrides

RUN_NAME = "xtts"
EVAL_MAX_CLIPS = 256
_CONFIG_HINT = "the set's config.json is damaged: add or fetch the set again"
_DECAY_STEPS = [50000 * 18, 150000 * 18, 300000 * 18]  # far beyond a fine-tune, as upstream has it

# A set of another size than upstream's says so in its config.json; the stock recipe has no
# place for these and takes the defaults, which are upstream's.
ARCHITECTURE = (
    "gpt_max_audio_tokens",
    "gpt_max_text_tokens",
    "gpt_max_prompt_tokens",
    "gpt_layers",
    "gpt_n_model_channels",
    "gpt_n_heads",
    "gpt_num_audio_tokens",
    "gpt_start_audio_token",
    "gpt_stop_audio_token",
    "gpt_code_stride_len",
    "gpt_use_perceiver_resampler",
    "gpt_use_masking_gt_prompt_approach",
    "input_sample_rate",
    "output_sample_rate",
    "output_hop_length",
    "decoder_input_dim",
    "d_vector_dim",
    "cond_d_vector_in_each_upsampling_layer",
)


def build_config(view: Path, options: TrainOptions, output: Path) -> Any:
    """Build the config of the stock recipe for the files of one view.

    Two things differ: there are no test sentences unless an override asks for them (they take most
    of the time on a CPU, and a missing speaker file would end the run after its first epoch), and
    one epoch is added when the run starts with an evaluation, since trainer counts that as one.

    Args:
        view: Directory with model.pth, dvae.pth, mel_stats.pth and vocab.json.
        options: What the user chose.
        output: Folder of the run.

    Returns:
        A ``GPTTrainerConfig``.

    Raises:
        InvalidInputError: an override does not fit.
        InvalidModel: config.json of the view cannot be read.
    """
    from TTS.config.shared_configs import BaseDatasetConfig
    from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainerConfig

    dataset = BaseDatasetConfig(
        formatter=options.formatter,
        dataset_name=options.dataset.name,
        path=str(options.dataset),
        meta_file_train=options.metadata,
        meta_file_val=options.metadata_eval,
        language=options.language,
    )
    config = GPTTrainerConfig(
        output_path=str(output),
        run_name=RUN_NAME,
        project_name="xttsreg",
        run_description="XTTS fine-tune by xttsreg",
        dashboard_logger="tensorboard",
        model_args=_model_args(view),
        audio=trainer_audio_config()(
            sample_rate=22050, dvae_sample_rate=22050, output_sample_rate=24000
        ),
        datasets=[dataset],
        test_sentences=[],
        **_schedule(options),
        **_optimizer(options),
    )
    apply_overrides(config, options.overrides)
    _check_test_sentences(config.test_sentences, config.languages)
    return config


def read_model_config(view: Path) -> dict[str, Any]:
    """Return config.json of a view as a dictionary; an empty one if there is none.

    Raises:
        InvalidModel: it is not a JSON object.
    """
    path = view / "config.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidModel(f"{path}: not readable as JSON ({error})", hint=_CONFIG_HINT) from error
    if not isinstance(content, dict):
        raise InvalidModel(f"{path}: not a JSON object", hint=_CONFIG_HINT)
    if not isinstance(content.get("model_args") or {}, dict):
        raise InvalidModel(f"{path}: its model_args are no JSON object", hint=_CONFIG_HINT)
    return content


def _model_args(view: Path) -> Any:
    from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTArgs

    stock: dict[str, Any] = {
        "max_conditioning_length": 132300,  # samples, 6 s
        "min_conditioning_length": 66150,  # samples, 3 s
        "debug_loading_failures": False,
        "max_wav_length": 255995,  # samples, about 11.6 s
        "max_text_length": 200,  # tokens
        "gpt_num_audio_tokens": 1026,
        "gpt_start_audio_token": 1024,
        "gpt_stop_audio_token": 1025,
        "gpt_use_masking_gt_prompt_approach": True,
        "gpt_use_perceiver_resampler": True,
    }
    own = read_model_config(view).get("model_args") or {}
    stock.update({name: own[name] for name in ARCHITECTURE if own.get(name) is not None})
    return GPTArgs(
        mel_norm_file=str(view / "mel_stats.pth"),
        dvae_checkpoint=str(view / "dvae.pth"),
        xtts_checkpoint=str(view / "model.pth"),
        tokenizer_file=str(view / "vocab.json"),
        **stock,
    )


def _schedule(options: TrainOptions) -> dict[str, Any]:
    with_eval = options.eval_split > 0 or bool(options.metadata_eval)
    return {
        "epochs": options.epochs + (1 if with_eval else 0),
        "run_eval": with_eval,
        "batch_size": options.batch_size,
        "batch_group_size": 48,
        "eval_batch_size": options.batch_size,
        "num_loader_workers": options.workers,
        "eval_split_max_size": EVAL_MAX_CLIPS,
        "print_step": 50,
        "plot_step": 100,
        "log_model_step": 1000,
        "save_step": options.save_step,
        "save_n_checkpoints": options.keep,
        "save_checkpoints": True,
        "print_eval": False,
        "training_seed": options.seed,
    }


def _optimizer(options: TrainOptions) -> dict[str, Any]:
    return {
        "optimizer": "AdamW",
        "optimizer_wd_only_on_weights": True,
        "optimizer_params": {"betas": [0.9, 0.96], "eps": 1e-8, "weight_decay": 1e-2},
        "lr": options.lr,
        "lr_scheduler": "MultiStepLR",
        "lr_scheduler_params": {"milestones": _DECAY_STEPS, "gamma": 0.5, "last_epoch": -1},
    }


def _check_test_sentences(sentences: Any, languages: Any) -> None:
    """Find a missing or broken speaker now: trainer would stumble over it after an epoch."""
    wanted = {"text", "speaker_wav", "language"}
    for sentence in sentences or []:
        if not isinstance(sentence, dict) or not wanted <= set(sentence):
            raise InvalidInputError("test_sentences: each needs text, speaker_wav and language")
        if sentence["language"] not in (*languages, "zh"):
            raise InvalidInputError(
                f"test_sentences: no language {sentence['language']!r}",
                hint=f"the model knows {', '.join(languages)}",
            )
        speakers = sentence["speaker_wav"]
        for speaker in speakers if isinstance(speakers, list) else [speakers]:
            try:
                check_reference(Path(str(speaker)))
            except InvalidInputError as error:
                raise InvalidInputError(
                    f"test_sentences: {error.message}",
                    hint="give absolute paths of clips of the speaker, 3 s or longer",
                ) from error
