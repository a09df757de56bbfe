"""The sections of a report, each a piece of HTML."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xttsreg.content.cores import cores
from xttsreg.look.pieces import (
    code,
    duration,
    escape,
    facts,
    figures,
    fold,
    many,
    notes,
)
from xttsreg.training.report_charts import Series, chart, scientific, smoothed
from xttsreg.training.report_samples import Samples
from xttsreg.training.result import EvalLoss, RunResult, StepLoss

_SMOOTH_FROM = 30  # steps
_MAX_ROWS = 100


def listen(samples: Samples) -> str:
    """The same sentence before and after, or why there is none."""
    if not samples.samples:
        return f"<p>{escape(samples.missing)}</p>"
    cards = "".join(
        f"<figure><figcaption>{escape(sample.title)}<span>{escape(sample.about)}</span>"
        f'</figcaption><audio controls preload="metadata" src="{sample.audio}" '
        f'aria-label="{escape(f"{sample.title}: {sample.about}", quote=True)}"></audio></figure>'
        for sample in samples.samples
    )
    seen = "not trained on" if samples.unseen else "from the training set"
    return (
        f'<p class="soft">One sentence, {seen}:</p>'
        f"<blockquote>{escape(samples.sentence)}</blockquote>"
        f'<div class="samples">{cards}</div>'
    )


def losses(run: RunResult) -> str:
    """The curves of the losses, and their figures."""
    steps = [(float(loss.step), loss.loss) for loss in run.step_losses]
    checks = [(float(loss.step), loss.loss) for loss in run.eval_losses]
    smooth = len(steps) >= _SMOOTH_FROM
    lines = [Series("training, each step", "steps" if smooth else "main", steps, dots=not smooth)]
    if smooth:
        means = smoothed([value for _, value in steps])
        points = [(step, mean) for (step, _), mean in zip(steps, means, strict=True)]
        lines.append(Series("training, smoothed", "main", points))
    lines.append(Series("evaluation", "eval", checks, dots=len(checks) <= _SMOOTH_FROM))
    said = [
        f"{line.name} from {line.points[0][1]:.3f} to {line.points[-1][1]:.3f}"
        for line in lines
        if line.points
    ]
    drawn = chart(lines, title="Losses over the steps", description="; ".join(said), y_label="loss")
    return drawn + _tables(run)


def _tables(run: RunResult) -> str:
    checks = figures(
        "Evaluation: mean over its clips; step 0 is the base before training",
        ("step", "loss", "text", "audio"),
        [(str(e.step), *map("{:.4f}".format, _three(e))) for e in run.eval_losses],
    )
    stride = max(1, -(-len(run.step_losses) // _MAX_ROWS))
    caption = "Training" if stride == 1 else f"Training, every {stride}th step"
    steps = figures(
        caption,
        ("step", "epoch", "loss", "text", "audio"),
        [
            (str(s.step), str(s.epoch), *map("{:.4f}".format, _three(s)))
            for s in run.step_losses[::stride]
        ],
    )
    shown = checks if run.eval_losses else "<p>There was no evaluation (--eval-split 0).</p>"
    scroll = f'<div class="scroll" tabindex="0" role="region" aria-label="Figures">{steps}</div>'
    return fold("The figures as tables", shown + scroll)


def _three(loss: EvalLoss | StepLoss) -> tuple[float, float, float]:
    return loss.loss, loss.loss_text_ce, loss.loss_mel_ce


def rate(steps: Sequence[StepLoss]) -> str:
    """The curve of the learning rate."""
    rates = [(float(loss.step), loss.lr) for loss in steps]
    if not rates:
        return "<p>No steps were recorded.</p>"
    values = {rate for _, rate in rates}
    if len(values) == 1:
        said = f"Constant at {scientific(rates[0][1])}"
    else:
        said = f"From {scientific(rates[0][1])} to {scientific(rates[-1][1])}"
    drawn = chart(
        [Series("learning rate", "main", rates)],
        title="Learning rate over the steps",
        description=said,
        y_label="rate",
        from_zero=True,
    )
    return f'<p class="soft">{said}.</p>{drawn}'


def dataset(run: RunResult) -> str:
    """What was trained on, and what was left out."""
    data = run.dataset
    rows = {
        "Folder": code(Path(data.path).name),
        "Formatter": escape(data.formatter),
        "Language": escape(data.language),
        "Clips": f"{data.train_clips} to train, {data.eval_clips} to evaluate",
        "Length": f"{duration(data.seconds)} in all; clips of {data.shortest_seconds:.1f} "
        f"to {data.longest_seconds:.1f} s",
        "Sample rates": f"{', '.join(map(str, data.sample_rates))} Hz",
        "Left out": escape(_dropped(data.dropped)),
    }
    return facts("What was trained on", rows) + notes(data.warnings)


def _dropped(dropped: Mapping[str, int]) -> str:
    if not dropped:
        return "nothing"
    return ", ".join(f"{many(count, 'clip')} {reason}" for reason, count in dropped.items())


def proof(run: RunResult) -> str:
    """Which tensors were restored, by part."""
    proof = run.proof
    table = figures(
        "Before the first step, each tensor of the model was compared with the base by name, "
        "shape and value",
        ("part", "restored", "of"),
        [
            (name.replace("_", " "), str(part.restored), str(part.total))
            for name, part in proof.parts.items()
        ],
        ("all", str(proof.restored), str(proof.total)),
    )
    return f'<p class="good">{escape(str(proof))} layers are restored.</p>{table}'


def lineage(origin: Mapping[str, Any]) -> str:
    """Where the voice comes from."""
    terms = origin.get("license") or {}
    accepted = ""
    if terms.get("accepted_by"):
        accepted = f", accepted by {terms['accepted_by']} at {terms['accepted_at']}"
    rows = {
        "Voice": _pinned(f"{origin['reference']}@{origin['digest']}"),
        "Base": _pinned(str(origin.get("base") or "")),
        "Dataset": code(str(origin.get("dataset") or "")),
        "Configuration": code(str(origin.get("training_configuration") or "")),
        "Licence": escape(f"{terms.get('id') or 'none named'}{accepted}"),
        "Trained by": escape(str(origin.get("author") or "")),
        "Registered": escape(str(origin.get("created") or "")),
    }
    return facts("Where this voice comes from; digests name exact bytes", rows)


def _pinned(reference: str) -> str:
    name, _, digest = reference.partition("@")
    return f"{code(name)}<br>{code(digest)}" if digest else code(name)


_WAYS = {"mount": "hardlink under a read-only mount"}


def environment(run: RunResult, view_mode: str) -> str:
    """What the run ran on."""
    rows: dict[str, str | None] = {
        "Computed on": escape(_device(str(run.options.get("device", "auto")))),
        "Weights seen as": escape(f"{_WAYS.get(view_mode, view_mode)} of the store's files"),
        "Network": escape("cut off; nothing tried to leave")
        if not run.violations
        else escape(f"cut off; {len(run.violations)} connections were refused"),
    }
    rows |= {name: code(version) for name, version in run.versions.items()}
    return facts("What the run ran on", rows) + notes(run.violations)


def _device(asked: str) -> str:
    torch = sys.modules.get("torch")
    if asked != "cpu" and torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return f"CPU, {many(cores(), 'core')}, {platform.machine()}"


def settings(settings: Mapping[str, Any]) -> str:
    """What the run was told."""
    options = {
        name.replace("_", " "): code(value if isinstance(value, str) else json.dumps(value))
        for name, value in settings.get("options", {}).items()
        if name != "dataset" and value not in ("", {}, None)
    }
    config = json.dumps(settings.get("config", {}), indent=2, sort_keys=True, ensure_ascii=False)
    whole = f'<pre tabindex="0" aria-label="Trainer configuration">{escape(config)}</pre>'
    return facts("Options of this run", options) + fold("The trainer's whole configuration", whole)
