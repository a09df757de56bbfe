"""What a ``.pth`` file is, and what to do with it: the answer to "0 / 1023 layers are restored"."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from xttsreg.catalog import Catalog
from xttsreg.content.checkpoint import CheckpointSummary, part_of, summarize
from xttsreg.content.stream import digest_stream
from xttsreg.content.torchfile import ITEM_BYTES
from xttsreg.errors import InvalidInputError, NotFoundError
from xttsreg.stores.durable import disk_errors

# kind -> what it is, what next
_ADVICE = {
    "inference": (
        "an inference checkpoint: weights, without the training state (step, epoch, optimizer)",
        "train from it with `xttsreg train --model REF`. As a restore_path it gives "
        "'0 / N layers are restored' and KeyError 'step': its names begin with gpt., the trainer's "
        "with xtts.gpt., and it has no step",
    ),
    "trainer": (
        "a trainer checkpoint: weights, optimizer, step and epoch of a run",
        "go on with its run by `xttsreg train --resume RUN` (`xttsreg runs` lists them); to speak "
        "with it, use the voice that the run registered",
    ),
    "dvae": (
        "the DVAE that turns audio into tokens; needed to train, not to speak",
        "keep it beside model.pth, vocab.json and mel_stats.pth; `xttsreg add NAME DIR` takes all",
    ),
    "mel_stats": (
        "the mean mel spectrogram; needed to train",
        "keep it beside model.pth, vocab.json and dvae.pth; `xttsreg add NAME DIR` takes all",
    ),
    "speakers": (
        "latents of built-in speakers; needed by stock inference with speaker names",
        "keep it beside model.pth; `xttsreg add NAME DIR` takes all",
    ),
    "unknown": ("a torch checkpoint, but none that XTTS makes", "nothing here can use it"),
    "not_a_checkpoint": (
        "no torch checkpoint",
        "bring the file again: `xttsreg fetch xtts_v2` checks every byte",
    ),
}


def inspect_file(path: Path, catalog: Catalog) -> dict[str, Any]:
    """Say what a file is, without executing anything in it.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is a directory.
        StoreError: it cannot be read.
    """
    if path.is_dir():
        raise InvalidInputError(
            f"{path}: is a directory, not a file",
            hint=f"`xttsreg add NAME {path}` takes it as a set; give one file of it to look at it",
        )
    if not path.is_file():
        raise NotFoundError(
            f"{path}: no such file",
            hint="give the path of a file, or a name that `xttsreg ls` shows",
        )
    with disk_errors(path), path.open("rb", buffering=0) as file:
        digest, _ = digest_stream(file)
        summary = summarize(path)
    meaning, advice = _ADVICE[summary.kind]
    if summary.foreign_globals:
        meaning = "UNSAFE: loading it can run code. By its names " + meaning
        advice = "do not load it; ask whoever made it for one without foreign classes"
    return {
        "path": str(path),
        "kind": summary.kind,
        "meaning": meaning,
        "next": advice,
        "equals": catalog.identify(digest),
        "digest": digest,
        "size_bytes": summary.size_bytes,
        "container": summary.container,
        "problem": summary.problem,
        "keys": [key for key in summary.top_keys if key not in summary.tensors],
        "layers": len(summary.tensors),
        "parts": dict(summary.parts),
        "part_bytes": _part_bytes(summary),
        "dtypes": _dtypes(summary),
        "text_tokens": summary.text_tokens,
        "step": summary.step,
        "epoch": summary.epoch,
        "foreign_globals": sorted(summary.foreign_globals),
    }


def _part_bytes(summary: CheckpointSummary) -> dict[str, int]:
    """What the tensors of each part take, each storage counted once."""
    found: dict[str, int] = {}
    seen = set()
    for name, tensor in summary.tensors.items():
        if tensor.storage in seen:
            continue
        seen.add(tensor.storage)
        part = part_of(name, summary.kind)
        found[part] = found.get(part, 0) + math.prod(tensor.shape) * ITEM_BYTES[tensor.dtype]
    return found


def _dtypes(summary: CheckpointSummary) -> list[str]:
    return sorted({str(tensor.dtype) for tensor in summary.tensors.values()})
