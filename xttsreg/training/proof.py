"""Proof that a constructed model holds the checkpoint, tensor by tensor.

TTS loads with ``strict=False`` and says nothing when no name fits; noise is trained then. So every
tensor of the model is compared with the files by name, shape and value before the first step.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xttsreg.errors import RestoreIncomplete
from xttsreg.training.checkpoint import load_checked, load_model_state
from xttsreg.training.construct import count_unusable

_PARTS = (  # first prefix that fits wins
    ("xtts.gpt.", "gpt"),
    ("xtts.hifigan_decoder.speaker_encoder.", "speaker_encoder"),
    ("xtts.hifigan_decoder.", "hifigan_decoder"),
    ("xtts.mel_stats", "mel_stats"),
    ("dvae.", "dvae"),
    ("torch_mel_spectrogram_", "mel_spectrogram"),
)
_STATS = "xtts.mel_stats"
_SPECTROGRAMS = ("torch_mel_spectrogram_style_encoder", "torch_mel_spectrogram_dvae")


@dataclass(frozen=True, slots=True)
class PartCount:
    """How many tensors of one part hold the checkpoint's values."""

    restored: int
    total: int


@dataclass(frozen=True, slots=True)
class Proof:
    """A finished proof: all parts complete, otherwise `prove_restore` had raised.

    ``mel_spectrogram`` are buffers that no file holds; they equal freshly computed ones.
    """

    parts: dict[str, PartCount]

    @property
    def restored(self) -> int:
        """Number of tensors that are right."""
        return sum(part.restored for part in self.parts.values())

    @property
    def total(self) -> int:
        """Number of tensors of the model, as trainer counts its "layers"."""
        return sum(part.total for part in self.parts.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the proof as JSON types."""
        parts = {
            name: {"restored": part.restored, "total": part.total}
            for name, part in self.parts.items()
        }
        return {"restored": self.restored, "total": self.total, "parts": parts}

    def __str__(self) -> str:
        """Return e.g. ``1023 / 1023``."""
        return f"{self.restored} / {self.total}"


@dataclass(slots=True)
class _Findings:
    restored: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)


def prove_restore(model: Any, view: Path) -> Proof:
    """Compare every tensor of a ``GPTTrainer`` with the files it was built from.

    Args:
        model: The constructed model, before any step.
        view: Directory with model.pth, dvae.pth and mel_stats.pth.

    Returns:
        The proof, with counts by part.

    Raises:
        RestoreIncomplete: some tensor is absent, unknown, or has another shape or value; the
            message names the parts and counts.
        XttsregError: a file cannot be read.
    """
    actual = dict(model.state_dict())
    expected = {**_from_files(view), **_computed(model)}
    findings = _Findings(
        missing=sorted(set(actual) - set(expected)),
        unexpected=sorted(set(expected) - set(actual)),
    )
    for name in sorted(set(actual) & set(expected)):
        same = _same(actual[name], expected[name])
        (findings.restored if same else findings.different).append(name)
    _check_statistics(model, expected[_STATS], findings)
    totals = Counter(map(part_of, actual))
    restored = Counter(map(part_of, findings.restored))
    parts = {name: PartCount(restored[name], totals[name]) for name in _ordered(totals)}
    if findings.missing or findings.unexpected or findings.different:
        raise _incomplete(view, parts, findings)
    return Proof(parts)


def part_of(name: str) -> str:
    """Return the part that a tensor of a ``GPTTrainer`` belongs to.

    >>> part_of("xtts.hifigan_decoder.speaker_encoder.conv1.weight")
    'speaker_encoder'
    """
    return next((part for prefix, part in _PARTS if name.startswith(prefix)), "other")


def _ordered(totals: Counter[str]) -> list[str]:
    order = [part for _, part in _PARTS] + ["other"]
    return [part for part in order if totals[part]]


def _from_files(view: Path) -> dict[str, Any]:
    state = load_model_state(view / "model.pth")
    expected = {f"xtts.{name}": value for name, value in state.items()}
    dvae = load_checked(view / "dvae.pth")
    expected.update({f"dvae.{name}": value for name, value in dvae.items()})
    # training takes the statistics from their own file, whatever model.pth says
    expected[_STATS] = load_checked(view / "mel_stats.pth")
    return expected


def _computed(model: Any) -> dict[str, Any]:
    """Compute the spectrogram buffers anew; their figures are fixed in XTTS."""
    import torch
    from torchaudio.functional import melscale_fbanks

    perceiver = bool(model.args.gpt_use_perceiver_resampler)
    sizes = {  # number of FFT points and window length, in samples
        _SPECTROGRAMS[0]: (2048, 1024) if perceiver else (4096, 4096),
        _SPECTROGRAMS[1]: (1024, 1024),
    }
    rates = (model.config.audio.sample_rate, model.config.audio.dvae_sample_rate)
    expected: dict[str, Any] = {}
    for (name, (points, window)), rate in zip(sizes.items(), rates, strict=True):
        expected[f"{name}.mel_stft.spectrogram.window"] = torch.hann_window(window)
        expected[f"{name}.mel_stft.mel_scale.fb"] = melscale_fbanks(
            points // 2 + 1, 0.0, 8000.0, 80, rate, norm="slaney", mel_scale="htk"
        )
    return expected


def _same(actual: Any, expected: Any) -> bool:
    import torch

    if not isinstance(expected, torch.Tensor) or actual.shape != expected.shape:
        return False
    there = actual.detach().to("cpu")
    return bool(torch.equal(there, expected.to(there.dtype)))


def _check_statistics(model: Any, stats: Any, findings: _Findings) -> None:
    """Zeros would divide the spectrograms to infinity: equal to the file, and useless."""
    import torch

    usable = isinstance(stats, torch.Tensor) and not count_unusable(stats)
    if not usable and _STATS in findings.restored:
        findings.restored.remove(_STATS)
        findings.different.append(_STATS)
    for name in _SPECTROGRAMS:
        norms = getattr(getattr(model, name), "mel_norms", None)
        if norms is None or not _same(norms, stats):
            findings.different.append(f"{name}.mel_norms")


def _incomplete(view: Path, parts: dict[str, PartCount], findings: _Findings) -> RestoreIncomplete:
    concerned = {*map(part_of, [*findings.missing, *findings.unexpected, *findings.different])}
    counts = [
        f"{name} {parts[name].restored} / {parts[name].total}"
        for name in _ordered(Counter(concerned))
        if name in parts
    ]
    kinds = [
        f"{len(names)} {kind} (first {names[0]})"
        for kind, names in (
            ("not in the files", findings.missing),
            ("unknown to the model", findings.unexpected),
            ("with other or unusable values", findings.different),
        )
        if names
    ]
    restored = sum(part.restored for part in parts.values())
    total = sum(part.total for part in parts.values())
    return RestoreIncomplete(
        f"{restored} / {total} layers are restored from {view}: {', '.join(counts)}; "
        f"{', '.join(kinds)}",
        missing=findings.missing,
        unexpected=findings.unexpected,
        different=findings.different,
        hint="stock TTS would train noise here; `xttsreg inspect` says what a file or a set is, "
        "`xttsreg fetch xtts_v2` brings the published one",
    )
