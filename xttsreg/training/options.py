"""What people change about a training run, and how ``-o key=value`` reaches the config."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xttsreg.content.cores import cores
from xttsreg.errors import InvalidInputError

DEVICES = ("auto", "cpu", "cuda")

_FROM_WEIGHT_SET = {
    "model_args.xtts_checkpoint",
    "model_args.dvae_checkpoint",
    "model_args.mel_norm_file",
    "model_args.tokenizer_file",
    "model_args.gpt_checkpoint",
    "model_args.vocoder",
}
_OWN_OPTION = {"output_path": "the output directory", "datasets": "--dataset"}


def default_workers(processes: int = 1) -> int:
    """How many processes load clips for each of those that train: the cores, but 8 at most."""
    return max(1, min(8, cores() // max(1, processes)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Options of one run. The defaults are the stock recipe's, where it has one.

    Attributes:
        dataset: Directory of the dataset.
        formatter: Name of a formatter of TTS, e.g. ``ljspeech``.
        language: Language code of the texts, e.g. ``en``.
        epochs: Passes over the training clips; the evaluation before the first is not counted.
        batch_size: Clips in one step.
        grad_accum: Steps between two updates. batch_size x grad_accum >= 252 is advised.
        lr: Learning rate.
        save_step: Steps between two checkpoints.
        keep: How many of these to keep, the newest; the best model is kept besides.
        eval_split: Below 1 a fraction of the clips, from 1 on their number; 0 for no evaluation.
        workers: Processes that load clips, for each of those that train.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: Of Python, NumPy and torch.
        processes: That train together and average their gradients, each on a GPU of its own.
        gpus: Which ones, e.g. ``0,1``; empty for the first ones.
        metadata: Name of the metadata file for training, within ``dataset``.
        metadata_eval: The same for evaluation; empty to split clips off from ``metadata``.
        overrides: Dotted config keys and their values as text, e.g. ``optimizer_params.eps``.
    """

    dataset: Path
    formatter: str = "ljspeech"
    language: str = "en"
    epochs: int = 10
    batch_size: int = 3
    grad_accum: int = 84
    lr: float = 5e-6
    save_step: int = 1000
    keep: int = 1
    eval_split: float = 0.01
    workers: int = field(default_factory=default_workers)
    device: str = "auto"
    seed: int = 1
    processes: int = 1
    gpus: str = ""
    metadata: str = "metadata.csv"
    metadata_eval: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InvalidInputError: a number out of its range, or an unknown device.
        """
        for name in ("epochs", "batch_size", "grad_accum", "save_step", "keep", "processes"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name} is {getattr(self, name)}, it must be at least 1")
        for name in ("workers", "eval_split", "seed"):
            if getattr(self, name) < 0:
                raise InvalidInputError(f"{name} is {getattr(self, name)}, it must not be negative")
        if self.lr <= 0:
            raise InvalidInputError(f"lr is {self.lr}, it must be positive")
        names = [name.strip() for name in self.gpus.split(",")] if self.gpus else []
        if len(set(names)) != len(names) or not all(names):
            raise InvalidInputError(f"--gpus {self.gpus}: names one twice, or none")
        if names and self.device == "cpu":
            raise InvalidInputError(
                f"--gpus {self.gpus} and --device cpu", hint="on a CPU, give --processes N"
            )
        if names and len(names) != self.processes:
            raise InvalidInputError(
                f"--processes {self.processes}: --gpus {self.gpus} are {len(names)}",
                hint="leave --processes out",
            )
        if self.device not in DEVICES:
            raise InvalidInputError(f"device {self.device!r}: choose one of {', '.join(DEVICES)}")

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TrainOptions:
        """Return the options that `as_dict` has given.

        Raises:
            KeyError, TypeError: these are no options.
            InvalidInputError: a value out of its range.
        """
        return cls(**{**stored, "dataset": Path(stored["dataset"])})

    def as_dict(self) -> dict[str, Any]:
        """Return the options as JSON types."""
        plain = asdict(self)
        return {**plain, "dataset": str(self.dataset), "overrides": dict(self.overrides)}


def parse_overrides(pairs: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Split ``key=value`` texts from a command line.

    Raises:
        InvalidInputError: no ``=``, or an empty key.

    >>> parse_overrides(["optimizer_params.eps=1e-9"])
    {'optimizer_params.eps': '1e-9'}
    """
    result = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise InvalidInputError(f"{pair!r} is not KEY=VALUE, e.g. optimizer_params.eps=1e-9")
        result[key.strip()] = value
    return result


def parse_scalar(text: str) -> Any:
    """Read a value as JSON; what is no JSON is text.

    >>> parse_scalar("1e-3"), parse_scalar("true"), parse_scalar("AdamW")
    (0.001, True, 'AdamW')
    """
    spelled = {"True": "true", "False": "false", "None": "null", "none": "null"}
    try:
        return json.loads(spelled.get(text.strip(), text))
    except json.JSONDecodeError:
        return text


def apply_overrides(config: Any, overrides: Mapping[str, str]) -> None:
    """Set dotted keys of a trainer config in place.

    Args:
        config: A config object of TTS (any object with attributes and dictionaries will do).
        overrides: Dotted keys and values as text.

    Raises:
        InvalidInputError: an unknown key (near ones are named), a value of another type, or a key
            that xttsreg sets itself.
    """
    for key, text in overrides.items():
        if key in _FROM_WEIGHT_SET:
            raise InvalidInputError(f"{key}: the weight set says which file is taken; use --model")
        if key in _OWN_OPTION:
            raise InvalidInputError(f"{key}: this has an option of its own, {_OWN_OPTION[key]}")
        _set(config, key, text)


def _set(config: Any, key: str, text: str) -> None:
    *parents, last = key.split(".")
    node, trail = config, ""
    for name in parents:
        _require_field(node, name, trail, key)
        node = node[name] if isinstance(node, dict) else getattr(node, name)
        trail += f"{name}."
    if isinstance(node, dict):  # e.g. optimizer_params: its keys are the optimizer's business
        node[last] = _fit(key, text, node.get(last))
    else:
        _require_field(node, last, trail, key)
        setattr(node, last, _fit(key, text, getattr(node, last)))


def _fields(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [str(name) for name in node]
    return list(getattr(node, "__dataclass_fields__", {}))


def _require_field(node: Any, name: str, trail: str, key: str) -> None:
    known = _fields(node)
    if name in known:
        return
    near = [trail + match for match in difflib.get_close_matches(name, known, n=3)]
    raise InvalidInputError(
        f"{key}: the config has no such key",
        hint=f"did you mean {' or '.join(near)}?" if near else None,
    )


def _fit(key: str, text: str, current: Any) -> Any:
    """Parse ``text`` to the type of the value it replaces."""
    value = parse_scalar(text)
    if current is None or value is None:
        return value
    if isinstance(current, str):
        return text
    if isinstance(current, float) and type(value) is int:
        return float(value)
    numeric = isinstance(current, int | float) and not isinstance(current, bool)
    matches = type(value) in (int, float) if numeric else type(value) is type(current)
    if isinstance(current, int) and isinstance(value, float):
        matches = False
    if not matches:
        wanted = type(current).__name__
        raise InvalidInputError(f"{key}: {text!r} is {type(value).__name__}, expected {wanted}")
    return value
