"""``report.html``: everything about a run in one file that needs no network, nor xttsreg."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import xttsreg
from xttsreg.errors import XttsregError
from xttsreg.training.report_charts import Series, chart, smoothed
from xttsreg.training.report_html import code, escape, facts, figures, fold, notes, tiles
from xttsreg.training.report_samples import Samples, make_samples
from xttsreg.training.result import EvalLoss, RunResult, StepLoss

REPORT_NAME = "report.html"
_SMOOTH_FROM = 30  # steps
_MAX_ROWS = 100
_DASH = "\N{EN DASH}"
_ARROW = "\N{RIGHTWARDS ARROW}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What a report tells.

    Attributes:
        run: The run.
        origin: Where the voice comes from, as `ops.export.describe_origin` says it.
        settings: Options and config, without paths of this machine.
        view_mode: How the trainer saw the weights.
        samples: To listen to.
    """

    run: RunResult
    origin: Mapping[str, Any]
    settings: Mapping[str, Any]
    view_mode: str
    samples: Samples


def gather_samples(
    run: RunResult,
    base: Path,
    voice: Path,
    *,
    speaker_wav: Path | None,
    wanted: bool,
    tell: Callable[[str], None],
) -> Samples:
    """Make the samples, or say why there are none: a run must not fail for them.

    Args:
        run: The run.
        base: The view that was trained from.
        voice: The voice's files.
        speaker_wav: The reference clip, if one was given.
        wanted: Whether samples are wanted.
        tell: Told what is going on.
    """
    if not wanted:
        return Samples(missing="No samples were asked for (--no-samples).")
    if speaker_wav is None:
        hint = "train with --speaker-wav to hear the same sentence before and after"
        return Samples(missing=f"There is no reference clip to speak with: {hint}.")
    if run.dataset.example is None:
        return Samples(missing="The dataset has no sentence to speak.")
    try:
        return make_samples(
            base, voice, run.dataset.example, language=run.dataset.language,
            speaker_wav=speaker_wav, device=str(run.options.get("device", "auto")), tell=tell,
        )  # fmt: skip
    except XttsregError as error:
        return Samples(missing=f"The samples could not be made: {error.message}")


def write_report(story: Story, path: Path) -> Path:
    """Write the page; it appears under its name when it is complete."""
    template = Template(resources.files(__package__).joinpath("report.html").read_text("utf-8"))
    page = template.substitute(_fields(story))
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(page, encoding="utf-8", newline="\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _fields(story: Story) -> dict[str, str]:
    run, name = story.run, str(story.origin["reference"])
    return {
        "title": escape(f"{name} {_DASH} XTTS fine-tune"),
        "name": escape(name),
        "summary": _summary(story),
        "tiles": tiles(_headlines(run)),
        "samples": _listen(story.samples),
        "losses": _losses(run),
        "rate": _rate(run.step_losses),
        "dataset": _dataset(run),
        "proof": _proof(run),
        "lineage": _lineage(story.origin),
        "environment": _environment(story),
        "settings": _settings(story.settings),
        "footer": f"Written by xttsreg {escape(xttsreg.__version__)}. "
        "This page loads nothing from anywhere.",
    }


def _summary(story: Story) -> str:
    run = story.run
    base = str(story.origin.get("base") or "").partition("@")[0]
    began, ended = datetime.fromisoformat(run.started), datetime.fromisoformat(run.finished)
    when = ended.strftime("%d %B %Y, %H:%M UTC").lstrip("0")
    took = _duration((ended - began).total_seconds())
    return f"Trained from {code(base)}, finished on {escape(when)} after {took}."


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _headlines(run: RunResult) -> list[tuple[str, str, str]]:
    losses: Sequence[EvalLoss | StepLoss] = run.eval_losses or run.step_losses
    kind = "Evaluation loss" if run.eval_losses else "Training loss"
    rows = []
    if losses:
        first, last = losses[0].loss, losses[-1].loss
        change = f"{(last / first - 1) * 100:+.1f} %" if first else ""
        rows.append((kind, f"{first:.3f} {_ARROW} {last:.3f}", f"{change} since the start"))
    epochs = len({loss.epoch for loss in run.step_losses})
    data = run.dataset
    rows += [
        ("Training steps", str(len(run.step_losses)), f"in {_many(epochs, 'epoch')}"),
        ("Speech", _duration(data.seconds), f"{data.train_clips} + {data.eval_clips} clips"),
        ("Restored from the base", str(run.proof), "tensors, values compared"),
    ]
    return rows


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _listen(samples: Samples) -> str:
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


def _losses(run: RunResult) -> str:
    steps = [(float(loss.step), loss.loss) for loss in run.step_losses]
    checks = [(float(loss.step), loss.loss) for loss in run.eval_losses]
    many = len(steps) >= _SMOOTH_FROM
    lines = [Series("training, each step", "steps", steps, dots=not many)]
    if many:
        means = smoothed([value for _, value in steps])
        points = [(step, mean) for (step, _), mean in zip(steps, means, strict=True)]
        lines.append(Series("training, smoothed", "smooth", points))
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
        [
            (str(e.step), f"{e.loss:.4f}", f"{e.loss_text_ce:.4f}", f"{e.loss_mel_ce:.4f}")
            for e in run.eval_losses
        ],
    )
    stride = max(1, -(-len(run.step_losses) // _MAX_ROWS))
    caption = "Training" if stride == 1 else f"Training, every {stride}th step"
    steps = figures(
        caption,
        ("step", "epoch", "loss", "text", "audio"),
        [
            (str(s.step), str(s.epoch), *(f"{x:.4f}" for x in (s.loss, s.loss_text_ce, s.loss_mel_ce)))
            for s in run.step_losses[::stride]
        ],
    )  # fmt: skip
    shown = checks if run.eval_losses else "<p>There was no evaluation (--eval-split 0).</p>"
    scroll = f'<div class="scroll" tabindex="0" role="region" aria-label="Figures">{steps}</div>'
    return fold("The figures as tables", shown + scroll)


def _rate(steps: Sequence[StepLoss]) -> str:
    rates = [(float(loss.step), loss.lr) for loss in steps]
    if not rates:
        return "<p>No steps were recorded.</p>"
    values = {rate for _, rate in rates}
    if len(values) == 1:
        said = f"Constant at {rates[0][1]:g}"
    else:
        said = f"From {rates[0][1]:g} to {rates[-1][1]:g}"
    drawn = chart(
        [Series("learning rate", "rate", rates)],
        title="Learning rate over the steps",
        description=said,
        y_label="learning rate",
    )
    return f'<p class="soft">{said}.</p>{drawn}'


def _dataset(run: RunResult) -> str:
    data = run.dataset
    rows = {
        "Folder": code(Path(data.path).name),
        "Formatter": escape(data.formatter),
        "Language": escape(data.language),
        "Clips": f"{data.train_clips} to train, {data.eval_clips} to evaluate",
        "Length": f"{_duration(data.seconds)} in all; clips of {data.shortest_seconds:.1f} "
        f"to {data.longest_seconds:.1f} s",
        "Sample rates": f"{', '.join(map(str, data.sample_rates))} Hz",
        "Left out": escape(_dropped(data.dropped)),
    }
    return facts("What was trained on", rows) + notes(data.warnings)


def _dropped(dropped: Mapping[str, int]) -> str:
    if not dropped:
        return "nothing"
    return ", ".join(f"{_many(count, 'clip')} {reason}" for reason, count in dropped.items())


def _proof(run: RunResult) -> str:
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


def _lineage(origin: Mapping[str, Any]) -> str:
    terms = origin.get("license") or {}
    accepted = ""
    if terms.get("accepted_by"):
        accepted = f", accepted by {terms['accepted_by']} at {terms['accepted_at']}"
    rows = {
        "Voice": code(f"{origin['reference']}@{origin['digest']}"),
        "Base": code(str(origin.get("base") or "")),
        "Dataset": code(str(origin.get("dataset") or "")),
        "Configuration": code(str(origin.get("training_configuration") or "")),
        "Licence": escape(f"{terms.get('id') or 'none named'}{accepted}"),
        "Trained by": escape(str(origin.get("author") or "")),
        "Registered": escape(str(origin.get("created") or "")),
    }
    return facts("Where this voice comes from; digests name exact bytes", rows)


def _environment(story: Story) -> str:
    run = story.run
    rows: dict[str, str | None] = {
        "Computed on": escape(_device(str(run.options.get("device", "auto")))),
        "Weights seen as": escape(f"{story.view_mode} of the store's files"),
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
    return f"CPU, {os.cpu_count()} cores, {platform.machine()}"


def _settings(settings: Mapping[str, Any]) -> str:
    options = {
        name.replace("_", " "): code(value if isinstance(value, str) else json.dumps(value))
        for name, value in settings.get("options", {}).items()
        if name != "dataset" and value not in ("", {}, None)
    }
    config = json.dumps(settings.get("config", {}), indent=2, sort_keys=True, ensure_ascii=False)
    whole = f'<pre tabindex="0" aria-label="Trainer configuration">{escape(config)}</pre>'
    return facts("Options of this run", options) + fold("The trainer's whole configuration", whole)
