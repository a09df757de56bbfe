"""A user's own recipe: its own folders, older links, no option that says what xttsreg is.

Run by test_exec.py in a process of its own. The environment says where (DATASET, FOLDER), and what
a careless user has changed (RESTORE, BASE).
"""

import os
import subprocess
from pathlib import Path

from trainer import Trainer, TrainerArgs
from TTS.config.shared_configs import BaseDatasetConfig
from TTS.tts.datasets import load_tts_samples
from TTS.tts.layers.xtts.trainer import gpt_trainer
from TTS.utils.manage import ModelManager

OLD = "https://coqui.gateway.scarf.sh/hf-coqui/XTTS-v2/v2.0.2"
HUB = "https://huggingface.co/coqui/XTTS-v2/resolve/main"


def bring(folder: Path) -> None:
    """Download what is not there, in pairs, as recipes do."""
    folder.mkdir(parents=True, exist_ok=True)
    for first, second in ((f"{OLD}/mel_stats.pth", f"{OLD}/dvae.pth"),
                          (f"{HUB}/vocab.json?download=true", f"{HUB}/model.pth")):  # fmt: skip
        names = [url.rpartition("/")[2].partition("?")[0] for url in (first, second)]
        if not all((folder / name).is_file() for name in names):
            ModelManager._download_model_files([first, second], str(folder), progress_bar=True)


def configure(folder: Path, output: Path) -> gpt_trainer.GPTTrainerConfig:
    base = os.environ.get("BASE", str(folder / "model.pth"))
    args = gpt_trainer.GPTArgs(
        min_conditioning_length=66150,
        max_conditioning_length=132300,
        xtts_checkpoint=base,
        dvae_checkpoint=str(folder / "dvae.pth"),
        mel_norm_file=f"{OLD}/mel_stats.pth",  # an address where TTS takes one
        tokenizer_file=str(folder / "vocab.json"),
        gpt_num_audio_tokens=1026,
        gpt_start_audio_token=1024,
        gpt_stop_audio_token=1025,
        gpt_use_masking_gt_prompt_approach=True,
        gpt_use_perceiver_resampler=True,
    )
    return gpt_trainer.GPTTrainerConfig(
        epochs=1,
        output_path=str(output),
        run_name="own",
        model_args=args,
        audio=gpt_trainer.XttsAudioConfig(sample_rate=22050, dvae_sample_rate=22050),
        batch_size=2,
        eval_batch_size=2,
        num_loader_workers=1,
        optimizer="AdamW",
        optimizer_params={"betas": [0.9, 0.96], "eps": 1e-8, "weight_decay": 1e-2},
        lr=5e-6,
        lr_scheduler="MultiStepLR",
        lr_scheduler_params={"milestones": [900000], "gamma": 0.5, "last_epoch": -1},
        test_sentences=[{"text": "Hi.", "speaker_wav": ["./away.wav"], "language": "en"}],
    )


def main() -> None:
    dataset, home = Path(os.environ["DATASET"]), Path(os.environ["FOLDER"])
    bring(home / "my weights")
    config = configure(home / "my weights", home / "my runs")
    model = gpt_trainer.GPTTrainer.init_from_config(config)
    clips = BaseDatasetConfig(
        formatter="ljspeech", path=str(dataset), meta_file_train="metadata.csv", language="en"
    )
    train, check = load_tts_samples([clips], eval_split_max_size=2, eval_split_size=0.2)
    args = TrainerArgs(restore_path=os.environ.get("RESTORE"), grad_accum_steps=1)
    trainer = Trainer(args, config, str(home / "my runs"), model=model,
                      train_samples=train, eval_samples=check)  # fmt: skip
    subprocess.run(["touch", str(home / "ready to train")], check=True)
    trainer.fit()


if __name__ == "__main__":
    main()
