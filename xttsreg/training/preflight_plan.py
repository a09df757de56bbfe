"""The doctor's checks of a plan: will the checkpoints fit the disk, and a batch the GPU?"""

from __future__ import annotations

import math
import re
import shutil
import sys
from pathlib import Path

from xttsreg import places
from xttsreg.content.checkpoint import CheckpointSummary, summarize
from xttsreg.errors import InsufficientSpace
from xttsreg.training.options import TrainOptions
from xttsreg.training.preflight import Checks, Subject, ok, warn

_FLOAT = 4  # bytes; the recipe trains in single precision
_OPTIMIZER = 2  # AdamW keeps two values for each trained one
_KEPT = 2  # the last and the best checkpoint
_BLOCK = re.compile(r"^gpt\.gpt\.h\.(\d+)\.")
_CUDA_CONTEXT = 600_000_000  # bytes; what CUDA and its libraries take by themselves
_CONDITIONING = 32  # positions that the speaker takes
_CODE_SAMPLES = 1024  # samples at 22050 Hz that one audio token stands for


def check_disk(
    subject: Subject, options: TrainOptions, output: Path | None, *, more_bytes: int = 0
) -> Checks:
    """Compare the free space with what a run writes at its widest.

    Args:
        subject: The weight set.
        options: Of the run.
        output: The run's folder.
        more_bytes: What is written besides: a copy of the dataset.

    Raises:
        InsufficientSpace: not even one checkpoint and the voice would fit.
    """
    one = checkpoint_bytes(subject)
    model = subject.file("model.pth")
    if not one or model is None:
        return
    voice = model.stat().st_size
    kept = _KEPT - 1 + _number(options, "save_n_checkpoints", 1)
    needed = (
        one * (kept + 1) + voice + more_bytes
    )  # an old checkpoint goes when the new one is there
    folder = _existing(output or places.default_runs())
    free = shutil.disk_usage(folder).free
    if free < one + voice + more_bytes:
        raise InsufficientSpace(
            str(folder),
            needed_bytes=needed,
            free_bytes=free,
            hint="free some space (`xttsreg gc`, old runs), or give --output on another disk",
        )
    text = f"{_gb(needed)} for {kept + 1} checkpoints of {_gb(one)} and the voice"
    text += f", {_gb(more_bytes)} of them for the dataset" if more_bytes else ""
    if free < needed:
        action = "free some space, or give --output on another disk: a full one ends the run"
        yield warn("disk", f"{_gb(free)} free in {folder}, a run takes up to {text}", action)
    else:
        yield ok("disk", f"{_gb(free)} free in {folder}; a run takes up to {text}")


def checkpoint_bytes(subject: Subject) -> int:
    """Estimate a trainer checkpoint: the weights, the DVAE, and the optimizer's share of GPT."""
    model, dvae = subject.file("model.pth"), subject.file("dvae.pth")
    if model is None or dvae is None or not (model.is_file() and dvae.is_file()):
        return 0
    trained = _gpt_values(summarize(model)) * _FLOAT
    return model.stat().st_size + dvae.stat().st_size + _OPTIMIZER * trained


def check_gpu_memory(subject: Subject, options: TrainOptions) -> Checks:
    """Compare the GPU's free memory with an estimate; says nothing where there is no GPU."""
    torch = sys.modules.get("torch")
    model = subject.file("model.pth")
    if torch is None or options.device == "cpu" or model is None or not model.is_file():
        return
    if not torch.cuda.is_available():
        return
    free = int(torch.cuda.mem_get_info()[0])
    needed = gpu_bytes(summarize(model), options.batch_size)
    text = f"batch {options.batch_size} takes about {_gb(needed)} at its longest clips"
    if needed > free:
        half = max(1, math.floor(options.batch_size / 2))
        accumulated = math.ceil(options.grad_accum * options.batch_size / half)
        action = f"--batch-size {half} --grad-accum {accumulated} learns the same with less"
        yield warn("gpu memory", f"{_gb(free)} free, {text}", action)
    else:
        yield ok("gpu memory", f"{_gb(free)} free, {text}")


def gpu_bytes(
    model: CheckpointSummary, batch_size: int, *, text_tokens: int = 202, samples: int = 255995
) -> int:
    """Estimate the memory of a training step in bytes; rather too much than too little.

    GPT's weights, gradients and optimizer stay; each clip adds what its layers keep for the way
    back, which grows with the length and, in attention, with its square.
    """
    layers = 1 + max((int(m.group(1)) for m in map(_BLOCK.match, model.tensors) if m), default=0)
    embedding = model.tensors.get("gpt.text_embedding.weight")
    width = embedding.shape[1] if embedding and len(embedding.shape) == 2 else 1024
    heads = max(1, width // 64)
    positions = _CONDITIONING + text_tokens + samples // _CODE_SAMPLES + 2
    # Single precision: about 17 values a position and channel, and three matrices of attention.
    one_clip = layers * _FLOAT * (17 * positions * width + 3 * heads * positions**2)
    trained = _gpt_values(model) * _FLOAT
    fixed = model.size_bytes + (1 + _OPTIMIZER) * trained + _CUDA_CONTEXT
    return fixed + batch_size * one_clip


def _gpt_values(model: CheckpointSummary) -> int:
    return sum(math.prod(t.shape) for name, t in model.tensors.items() if name.startswith("gpt."))


def _number(options: TrainOptions, key: str, default: int) -> int:
    text = options.overrides.get(key, "")
    return int(text) if text.isdigit() else default


def _existing(path: Path) -> Path:
    """The nearest folder above that exists: the run's own does not yet."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
