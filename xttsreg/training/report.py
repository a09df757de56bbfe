"""``report.html``: everything about a run in one file that needs no network, nor xttsreg."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import xttsreg
from xttsreg.errors import XttsregError
from xttsreg.look import style
from xttsreg.look.pieces import code, duration, escape, many, tiles
from xttsreg.training import report_sections
from xttsreg.training.report_samples import Samples, make_samples
from xttsreg.training.result import EvalLoss, RunResult, StepLoss

REPORT_NAME = "report.html"
_DASH = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
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
        "style": style(),
        "title": escape(f"{name} {_DASH} XTTS fine-tune"),
        "name": escape(name),
        "summary": _summary(story),
        "tiles": tiles(_headlines(run)),
        "samples": report_sections.listen(story.samples),
        "losses": report_sections.losses(run),
        "rate": report_sections.rate(run.step_losses),
        "dataset": report_sections.dataset(run),
        "proof": report_sections.proof(run),
        "lineage": report_sections.lineage(story.origin),
        "environment": report_sections.environment(run, story.view_mode),
        "settings": report_sections.settings(story.settings),
        "footer": f"Written by xttsreg {escape(xttsreg.__version__)}. "
        "This page loads nothing from anywhere.",
    }


def _summary(story: Story) -> str:
    run = story.run
    base = str(story.origin.get("base") or "").partition("@")[0]
    began, ended = datetime.fromisoformat(run.started), datetime.fromisoformat(run.finished)
    when = ended.strftime("%d %B %Y, %H:%M UTC").lstrip("0")
    took = duration((ended - began).total_seconds())
    return f"Trained from {code(base)}, finished on {escape(when)} after {took}."


def _headlines(run: RunResult) -> list[tuple[str, str, str]]:
    losses: Sequence[EvalLoss | StepLoss] = run.eval_losses or run.step_losses
    kind = "Evaluation loss" if run.eval_losses else "Training loss"
    rows = []
    if losses:
        first, last = losses[0].loss, losses[-1].loss
        change = f"{(last / first - 1) * 100:+.1f} %".replace("-", _MINUS) if first else ""
        rows.append((kind, f"{first:.3f} {_ARROW} {last:.3f}", f"{change} since the start"))
    epochs = len({loss.epoch for loss in run.step_losses})
    data = run.dataset
    rows += [
        ("Training steps", str(len(run.step_losses)), f"in {many(epochs, 'epoch')}"),
        (
            "Speech",
            duration(data.seconds),
            f"{data.train_clips} clips to train, {data.eval_clips} to check",
        ),
        ("Layers restored", str(run.proof), "values compared"),
    ]
    return rows
