"""The stock way to train, and nothing else: what the others are measured and compared against.

``python -m benchmarks.stock VIEW DATASET OUTPUT STEPS`` does what the recipe of TTS 0.22.0 does
with local files, without xttsreg, and writes one JSON line for the construction, each step and, if
the first epoch has no more steps than that, for the best model that it saves then; ``--cuda``: on
a GPU. The second engine reads no clip on a machine without FFmpeg; there, and there alone, it gets
our reader.
"""

from __future__ import annotations

import argparse
import inspect
import json
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

os.environ["TRAINER_TELEMETRY"] = "0"  # offline, its ping would end the run

ARCHITECTURE = (
    "gpt_layers",
    "gpt_n_model_channels",
    "gpt_n_heads",
    "gpt_max_audio_tokens",
    "decoder_input_dim",
)


def build_config(
    view: Path,
    dataset: Path,
    output: Path,
    *,
    batch_size: int = 2,
    workers: int = 0,
    lr: float = 1e-3,
) -> Any:
    """Return the recipe's config for local files; the sizes are those of the weight set."""
    from TTS.config.shared_configs import BaseDatasetConfig
    from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTArgs, GPTTrainerConfig

    try:
        from TTS.tts.layers.xtts.trainer.gpt_trainer import XttsAudioConfig
    except ImportError:  # coqui-tts has moved it
        from TTS.tts.models.xtts import XttsAudioConfig

    own = json.loads((view / "config.json").read_text(encoding="utf-8"))["model_args"]
    args = GPTArgs(
        max_conditioning_length=132300,
        min_conditioning_length=66150,
        debug_loading_failures=False,
        max_wav_length=255995,
        max_text_length=200,
        mel_norm_file=str(view / "mel_stats.pth"),
        dvae_checkpoint=str(view / "dvae.pth"),
        xtts_checkpoint=str(view / "model.pth"),
        tokenizer_file=str(view / "vocab.json"),
        gpt_num_audio_tokens=1026,
        gpt_start_audio_token=1024,
        gpt_stop_audio_token=1025,
        gpt_use_masking_gt_prompt_approach=True,
        gpt_use_perceiver_resampler=True,
        **{name: own[name] for name in ARCHITECTURE},
    )
    return GPTTrainerConfig(
        epochs=2,
        output_path=str(output),
        model_args=args,
        audio=XttsAudioConfig(sample_rate=22050, dvae_sample_rate=22050, output_sample_rate=24000),
        datasets=[
            BaseDatasetConfig(
                formatter="ljspeech",
                dataset_name=dataset.name,
                path=str(dataset),
                meta_file_train="metadata.csv",
                language="en",
            )
        ],
        batch_size=batch_size,
        batch_group_size=48,
        eval_batch_size=batch_size,
        num_loader_workers=workers,
        print_step=50,
        plot_step=100,
        log_model_step=1000,
        save_step=1000,
        save_checkpoints=True,
        run_eval=False,
        optimizer="AdamW",
        optimizer_wd_only_on_weights=True,
        optimizer_params={"betas": [0.9, 0.96], "eps": 1e-8, "weight_decay": 1e-2},
        lr=lr,
        lr_scheduler="MultiStepLR",
        lr_scheduler_params={"milestones": [900000, 2700000, 5400000], "gamma": 0.5},
        test_sentences=[],
        training_seed=1,
    )


def main(
    view: Path,
    dataset: Path,
    output: Path,
    steps: int,
    *,
    cuda: bool = False,
    batch_size: int = 2,
    workers: int = 0,
    lr: float = 1e-3,
) -> None:
    """Train for some steps, and tell."""
    if not cuda:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torchaudio
    from trainer import Trainer, TrainerArgs
    from TTS.tts.datasets import load_tts_samples
    from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer

    from xttsreg.training.engine import read_audio_without_codec

    read_audio_without_codec(torchaudio)
    config = build_config(view, dataset, output, batch_size=batch_size, workers=workers, lr=lr)
    began, began_cpu = time.perf_counter(), time.process_time()
    model = GPTTrainer.init_from_config(config)
    tell(
        event="model",
        construct_s=time.perf_counter() - began,
        construct_cpu_s=time.process_time() - began_cpu,
    )
    wanted = next(iter(inspect.signature(load_tts_samples).parameters))  # coqui-tts: "config"
    samples, _ = load_tts_samples(
        config.datasets if wanted == "datasets" else config, eval_split=False
    )
    arguments = TrainerArgs(restore_path="", skip_train_epoch=False, grad_accum_steps=1)
    trainer = Trainer(
        arguments,
        config,
        output_path=str(output),
        model=model,
        train_samples=samples,
        parse_command_line_args=False,
    )
    step = trainer.train_step

    def told(*args: Any) -> Any:
        outputs, losses = step(*args)
        tell(event="step", step=trainer.total_steps_done, loss=losses["loss"])
        if trainer.total_steps_done == steps:
            leave()
        return outputs, losses

    save = trainer.save_best_model

    def saved() -> None:
        began = time.perf_counter()
        save()
        tell(event="saved", save_s=time.perf_counter() - began)
        leave()

    trainer.save_best_model = saved
    trainer.train_step = told
    trainer.fit()


def leave() -> None:
    """End here: trainer's own ways to the end would save gigabytes first."""
    for loader in multiprocessing.active_children():  # else they notice it 5 s later
        loader.kill()
    os._exit(0)


def tell(**event: Any) -> None:
    """Write a line to the standard error: TTS prints to the standard output."""
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = {
        **event,
        "at": time.time(),
        "cpu_s": time.process_time(),
        "peak_bytes": peak_kib * 1024,
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        line["gpu_bytes"] = torch.cuda.max_memory_allocated()
        line["gpu_reserved_bytes"] = torch.cuda.max_memory_reserved()
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stock")
    for place in ("view", "dataset", "output"):
        parser.add_argument(place, type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("--cuda", action="store_true", help="on a GPU")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--lr", type=float, default=1e-3)
    given = parser.parse_args()
    main(
        *(place.absolute() for place in (given.view, given.dataset, given.output)), given.steps,
        cuda=given.cuda, batch_size=given.batch_size, workers=given.workers, lr=given.lr,
    )  # fmt: skip
