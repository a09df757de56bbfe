"""What a ``.pth`` file is, by its table of contents: never loaded, never executed.

The names, shapes and types of the tensors, and the few plain values beside them, tell the kinds
apart that XTTS has. Source: TTS 0.22.0 (`Xtts`, `GPTTrainer`) and trainer 0.0.36 (`save_model`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from xttsreg.content.pickles import Call, Pairs, PickleError, Reader
from xttsreg.content.torchfile import (
    DTYPES,
    NotTorchError,
    TensorInfo,
    read_legacy,
    read_zip,
    tensor_of,
)
from xttsreg.errors import IntegrityError, InvalidModel, UnsafePickle

__all__ = [
    "ALLOWED_GLOBALS",
    "CONFIG_CLASSES",
    "CheckpointSummary",
    "Kind",
    "TensorInfo",
    "require_safe",
    "summarize",
]

CONFIG_CLASSES = (
    "TTS.tts.configs.xtts_config.XttsConfig",
    "TTS.tts.models.xtts.XttsArgs",
    "TTS.tts.models.xtts.XttsAudioConfig",
    "TTS.config.shared_configs.BaseDatasetConfig",
)
"""What upstream's model.pth holds besides tensors."""

# All that XTTS's own files name. Trainer checkpoints hold plain values beside their tensors, and a
# scheduler's milestones, which torch counts; its own weights_only allows that as well.
ALLOWED_GLOBALS = frozenset(
    {
        "collections.Counter",
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        *CONFIG_CLASSES,
    }
    | {f"torch.{name}" for name in DTYPES}
)
_MAX_HEADER_BYTES = 100_000_000  # of a safetensors file, by its own specification
_PARTS = (  # the first prefix that fits counts
    ("hifigan_decoder.speaker_encoder.", "speaker_encoder"),
    ("hifigan_decoder.", "hifigan_decoder"),
    ("gpt.", "gpt"),
    ("mel_stats", "mel_stats"),
    ("dvae.", "dvae"),
    ("torch_mel_spectrogram_", "mel_spectrogram"),
)

Kind = Literal[
    "inference", "trainer", "dvae", "mel_stats", "speakers", "unknown", "not_a_checkpoint"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSummary:
    """What a file is.

    Attributes:
        kind: What the content is by its names, whether or not it is safe to load.
        container: ``zip``, ``legacy`` (before torch 1.6; cannot be memory-mapped), or ``none``.
        size_bytes: Of the file.
        tensors: By name: of the model for ``inference`` and ``trainer``, ``voice.tensor`` for
            ``speakers``, the keys of the top for others.
        parts: How many tensors each part of the model has: gpt, hifigan_decoder (without) and
            speaker_encoder, mel_stats, dvae, mel_spectrogram, other.
        top_keys: Keys of the outermost dict that are text.
        globals: All classes and functions that the pickle names, dotted.
        foreign_globals: Those that XTTS's own files never name: loading may run code.
        step: Of a trainer checkpoint.
        epoch: Of a trainer checkpoint.
        text_tokens: Rows of the GPT's text embedding: the size that vocab.json must have.
        problem: One line on what is wrong or unusual, if anything is.
    """

    kind: Kind
    container: Literal["zip", "legacy", "none"]
    size_bytes: int
    tensors: Mapping[str, TensorInfo] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)
    top_keys: tuple[str, ...] = ()
    globals: frozenset[str] = frozenset()
    step: int | None = None
    epoch: int | None = None
    text_tokens: int | None = None
    problem: str | None = None

    @property
    def foreign_globals(self) -> frozenset[str]:
        """The globals that are not on the allowlist."""
        return self.globals - ALLOWED_GLOBALS

    @property
    def is_safe(self) -> bool:
        """Whether it was read to its end and names nothing foreign."""
        return self.kind != "not_a_checkpoint" and not self.foreign_globals


def summarize(path: Path) -> CheckpointSummary:
    """Say what a file is.

    Args:
        path: Any file; ``.pth`` or not.

    Raises:
        OSError: if it cannot be read. Whatever its content is, that is no error.
    """
    size_bytes = path.stat().st_size
    reader = Reader()
    container: Literal["zip", "legacy", "none"] = "none"
    try:
        with path.open("rb") as stream:
            head = stream.read(1024)
            if head.startswith(b"PK\x03\x04"):
                container = "zip"
                top, problem = read_zip(path, reader)
            else:
                _refuse_by_head(head)
                top, problem = read_legacy(path, reader)
                container = "legacy"
    except (NotTorchError, PickleError) as error:
        return CheckpointSummary(
            kind="not_a_checkpoint",
            container=container,
            size_bytes=size_bytes,
            globals=frozenset(reader.globals),
            problem=str(error),
        )
    return _describe(top, reader, container, size_bytes, problem)


def require_safe(path: Path) -> CheckpointSummary:
    """Make sure that a file is a PyTorch file that names nothing but tensors and configurations.

    This is the first fence before a load, and ``weights_only=True`` the second: that one was
    bypassed in the torch that TTS 0.22.0 needs.

    Raises:
        InvalidModel: the file is not there.
        IntegrityError: empty, truncated, a web page, or no PyTorch file at all.
        UnsafePickle: the pickle names classes that XTTS's own files never name.
    """
    if not path.is_file():
        raise InvalidModel(f"{path}: no such file")
    summary = summarize(path)
    if summary.kind == "not_a_checkpoint":
        raise IntegrityError(
            f"{path}: {summary.problem}",
            hint="fetch or import the file again; `xttsreg verify` says which files are damaged",
        )
    if summary.foreign_globals:
        raise UnsafePickle(
            f"{path}: its pickle asks for {', '.join(sorted(summary.foreign_globals)[:5])}",
            hint="do not load this file; ask whoever made it for tensors only",
        )
    return summary


def _refuse_by_head(head: bytes) -> None:
    """Name the usual things that lie where a checkpoint should be."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        raise NotTorchError("the file is empty")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise NotTorchError("a web page, not a checkpoint: an error page was saved as a file")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _MAX_HEADER_BYTES:
        raise NotTorchError("a safetensors file: TTS loads only what torch.save has written")
    if text.startswith((b"{", b"[")):
        raise NotTorchError("a JSON file, not a checkpoint")
    if text.startswith(b"version https://git-lfs"):
        raise NotTorchError("a Git LFS pointer: the file itself was not downloaded")


def _entries(value: object) -> dict[str, object]:
    """The entries of a dict or OrderedDict whose keys are text; empty for anything else."""
    if not isinstance(value, (Pairs, Call)):
        return {}
    return {key: item for key, item in value.pairs if isinstance(key, str)}


def _tensors(value: object, prefix: str = "") -> dict[str, TensorInfo]:
    """The tensors among the entries of a dict."""
    found = {prefix + name: tensor_of(item) for name, item in _entries(value).items()}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _describe(
    top: object,
    reader: Reader,
    container: Literal["zip", "legacy"],
    size_bytes: int,
    problem: str | None,
) -> CheckpointSummary:
    """The summary of what was read."""
    entries = _entries(top)
    kind, tensors, remark = _classify(top, entries)
    numbers = {key: n for key, n in entries.items() if type(n) is int}
    bare = {name.removeprefix("xtts."): tensor for name, tensor in tensors.items()}
    embedding = bare.get("gpt.text_embedding.weight")
    return CheckpointSummary(
        kind=kind,
        container=container,
        size_bytes=size_bytes,
        tensors=tensors,
        parts=_count(bare, kind),
        top_keys=tuple(entries),
        globals=frozenset(reader.globals),
        step=numbers.get("step"),
        epoch=numbers.get("epoch"),
        text_tokens=embedding.shape[0] if embedding and embedding.shape else None,
        problem=problem or remark,
    )


def _classify(
    top: object, entries: dict[str, object]
) -> tuple[Kind, dict[str, TensorInfo], str | None]:
    """Kind, tensors, and what is unusual."""
    single = tensor_of(top)
    if single is not None:
        name, kind = ("mel_stats", "mel_stats") if len(single.shape) == 1 else ("", "unknown")
        return kind, {name: single}, None  # type: ignore[return-value]
    flat, model = _tensors(top), _tensors(entries.get("model"))
    voices: dict[str, TensorInfo] = {}
    for voice, value in entries.items():
        voices |= _tensors(value, f"{voice}.")
    wanted = ("gpt_cond_latent", "speaker_embedding")
    if entries and all(f"{v}.{w}" in voices for v in entries for w in wanted):
        return "speakers", voices, None
    if any(name.startswith("xtts.") for name in model):
        return "trainer", model, None
    if any(name.startswith("gpt.") for name in model):
        return "inference", model, None
    if any(".lora_" in name or name.startswith("lora_") for name in (*model, *flat)):
        return (
            "unknown",
            model or flat,
            "an adapter (LoRA): merge it into its base's model.pth first",
        )
    if _is_dvae(model):
        return "unknown", model, "a DVAE nested under the key 'model': nothing of it is restored"
    if model:
        return "unknown", model, "a model without one key that begins with 'gpt.' or 'xtts.gpt.'"
    if _is_dvae(flat):
        return "dvae", flat, None
    if any(name.removeprefix("xtts.").startswith("gpt.") for name in flat):
        return "unknown", flat, "a bare state dict: XTTS wants it under the key 'model'"
    return "unknown", flat, None


def _is_dvae(tensors: Mapping[str, TensorInfo]) -> bool:
    """Whether these are a DiscreteVAE's: an encoder, a decoder and a codebook between them."""
    tops = {name.partition(".")[0] for name in tensors}
    return {"encoder", "decoder", "codebook"} <= tops


def _count(names: Mapping[str, TensorInfo], kind: Kind) -> dict[str, int]:
    """Tensors by part."""
    return dict(Counter(part_of(name, kind) for name in names))


def part_of(name: str, kind: Kind) -> str:
    """The part of a model that a tensor belongs to; a file that holds one thing is one part.

    >>> part_of("xtts.gpt.text_head.bias", "trainer")
    'gpt'
    """
    if kind in ("dvae", "mel_stats", "speakers"):
        return kind
    bare = name.removeprefix("xtts.")
    return next((part for prefix, part in _PARTS if bare.startswith(prefix)), "other")
