"""Random weight sets with the real classes and file formats, for tests, the demo and benchmarks.

They are made of noise and need no licence of anyone; their shape is what training code sees of the
real set. ``tiny`` keeps the sizes that TTS fixes (HiFi-GAN, speaker encoder, DVAE) and shrinks GPT.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from xttsreg.training.checkpoint import save_model_state

Size = Literal["tiny", "full"]

_TINY = {
    "gpt_layers": 2,
    "gpt_n_model_channels": 64,
    "gpt_n_heads": 2,
    "decoder_input_dim": 64,
    # noise never comes to an end by itself: let generation stop after 4 s, not after 28
    "gpt_max_audio_tokens": 80,
}
_FLAGS = {
    "gpt_num_audio_tokens": 1026,
    "gpt_start_audio_token": 1024,
    "gpt_stop_audio_token": 1025,
    "gpt_use_masking_gt_prompt_approach": True,
    "gpt_use_perceiver_resampler": True,
}
_WESTERN = ("en", "es", "fr", "de", "it", "pt", "pl", "nl", "cs", "hu", "tr")
_LANGUAGES = (*_WESTERN, "ru", "ar", "zh-cn", "ko", "ja", "hi")
_LETTERS = (
    "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"-()"
    "àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœßăąćčďęěğıłńňőřśşšťůűźżž"
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"
)
_PAIRS = ("th", "he", "in", "er", "an", "re", "on", "st", "ou", "ng")
_LICENCE = """\
Random weights made by xttsreg for tests and demonstrations.

Every number in this weight set comes from a random number generator. It is not Coqui's model, is
not derived from it, and carries no licence terms of Coqui. Do with it what you like. It cannot
speak: what it synthesises is noise.
"""


def make_weight_set(directory: Path, *, size: Size = "tiny", seed: int = 0) -> None:
    """Write a complete random weight set; the same arguments give the same bytes.

    Args:
        directory: Where to; made if it is not there.
        size: ``tiny`` (about 0.3 GB, seconds) or ``full`` (2 GB, half a minute, 5 GB of memory).
        seed: Of the random numbers. The caller's generators are left as they were.
    """
    import torch
    from TTS.config.shared_configs import BaseDatasetConfig
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.models.xtts import XttsArgs, XttsAudioConfig

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "vocab.json").write_text(_vocabulary(), encoding="utf-8")
    args = XttsArgs(**_FLAGS, **(_TINY if size == "tiny" else {}))
    config = XttsConfig(
        model_args=args,
        audio=XttsAudioConfig(),
        languages=list(_LANGUAGES),
        datasets=[BaseDatasetConfig()],  # upstream's file has one; coqui-tts by itself, none
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stats = 2.0 + 6.0 * torch.rand(80)  # near what log-mel spectrograms of speech reach
        torch.save(stats, directory / "mel_stats.pth")
        _write_model(directory, config, stats)
        _write_dvae(directory / "dvae.pth")
        _write_speakers(directory / "speakers_xtts.pth", args.gpt_n_model_channels)
    config.save_json(str(directory / "config.json"))
    token = hashlib.md5(f"xttsreg {size} {seed}".encode(), usedforsecurity=False).hexdigest()
    (directory / "hash.md5").write_text(token, encoding="ascii")
    (directory / "LICENSE.txt").write_text(_LICENCE, encoding="utf-8")


def _write_model(directory: Path, config: Any, stats: Any) -> None:
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
    from TTS.tts.models.xtts import Xtts

    model = Xtts(config)
    model.tokenizer = VoiceBpeTokenizer(str(directory / "vocab.json"))
    model.init_models()
    model.mel_stats = stats
    save_model_state(directory / "model.pth", model.state_dict(), config=config)


def _write_dvae(path: Path) -> None:
    import torch
    from TTS.tts.layers.xtts.dvae import DiscreteVAE

    dvae = DiscreteVAE(  # the sizes that GPTTrainer fixes
        channels=80,
        normalization=None,
        positional_dims=1,
        num_tokens=1024,
        codebook_dim=512,
        hidden_dim=512,
        num_resnet_blocks=3,
        kernel_size=3,
        num_layers=2,
        use_transposed_convs=False,
    )
    torch.save(dvae.state_dict(), path)


def _write_speakers(path: Path, channels: int) -> None:
    """Two of them: with a single one the stock ``TTS.tts`` fails, whatever it is asked."""
    import torch

    speakers = {}
    for name in ("Random One", "Random Two"):
        latent = 0.1 * torch.randn(1, 32, channels)
        embedding = torch.nn.functional.normalize(torch.randn(1, 512, 1), dim=1)
        speakers[name] = {"gpt_cond_latent": latent, "speaker_embedding": embedding}
    torch.save(speakers, path)


def _vocabulary() -> str:
    """Return a small tokenizer file of the kind upstream uses: BPE with tokens for languages."""
    special = ["[STOP]", "[UNK]", "[SPACE]", *(f"[{code}]" for code in _LANGUAGES), "[START]"]
    tokens = [*special, *dict.fromkeys(_LETTERS), *_PAIRS]
    added = [
        {
            "id": number,
            "special": True,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for number, token in enumerate(special)
    ]
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "[UNK]",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [f"{pair[0]} {pair[1]}" for pair in _PAIRS],
        },
    }
    return json.dumps(content, ensure_ascii=False, indent=1)
