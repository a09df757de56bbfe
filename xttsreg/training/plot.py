"""A picture of the losses of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xttsreg.training.result import EvalLoss, StepLoss

_INK, _GRID, _STEP, _SMOOTH, _EVAL = "#333333", "#e3e3e3", "#9ec5e8", "#1f6fb2", "#d9622b"
_SMOOTH_FROM = 200  # steps; fewer need no smoothed line


def plot_losses(
    step_losses: Sequence[StepLoss], eval_losses: Sequence[EvalLoss], path: Path
) -> None:
    """Draw training and evaluation loss over the steps into a PNG of 1600 x 900 pixels.

    Args:
        step_losses: Of the training steps; may be empty.
        eval_losses: Of the evaluations; may be empty.
        path: The PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.625), dpi=160, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)  # not pyplot: no display, no global state
    axes = figure.add_subplot()
    steps = [loss.step for loss in step_losses]
    values = [loss.loss for loss in step_losses]
    many = len(steps) >= _SMOOTH_FROM
    if steps:
        marker = None if many else "o"
        axes.plot(
            steps,
            values,
            color=_STEP if many else _SMOOTH,
            linewidth=1.0 if many else 1.6,
            marker=marker,
            markersize=4,
            label="training, each step",
        )
    if many:
        axes.plot(steps, _smoothed(values), color=_SMOOTH, linewidth=2, label="training, smoothed")
    if eval_losses:
        axes.plot(
            [loss.step for loss in eval_losses],
            [loss.loss for loss in eval_losses],
            color=_EVAL,
            linewidth=2,
            marker="o",
            markersize=6,
            label="evaluation",
        )
    _dress(axes)
    figure.savefig(path, format="png", metadata={"Software": None})


def _dress(axes: object) -> None:
    from matplotlib.axes import Axes
    from matplotlib.ticker import MaxNLocator

    assert isinstance(axes, Axes)
    axes.set_title("Losses of the fine-tune", loc="left", color=_INK, fontsize=14, pad=12)
    axes.set_xlabel("step", color=_INK)
    axes.set_ylabel("loss", color=_INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, length=0)
    for side in axes.spines:
        axes.spines[side].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False, labelcolor=_INK)


def _smoothed(values: Sequence[float], weight: float = 0.9) -> list[float]:
    """Return an exponential mean, corrected for its start."""
    mean, total, result = 0.0, 0.0, []
    for value in values:
        mean = weight * mean + (1 - weight) * value
        total = weight * total + (1 - weight)
        result.append(mean / total)
    return result
