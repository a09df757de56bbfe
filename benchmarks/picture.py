"""One picture of all figures: bars against their limits, and what one more voice costs.

``python -m benchmarks.picture RESULTS.md`` draws it from what was kept beside that file.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import Curves, Goal, kept

_GOOD, _BAD, _LINE = "#2f7d5b", "#c2542d", "#555555"
_LABELS = {
    "folders": "folders with all files",
    "store": "store",
    "bundle": "bundle of all",
    "more": "bundle --thin of one more",
    "verify": "verify, by its records",
    "verify_all": "verify --no-cache",
}


def draw(goals: Sequence[Goal], curves: Curves, path: Path) -> Path:
    """Write the picture."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "xttsreg", "font.size": 9})
    from matplotlib import pyplot

    height = 1.2 + 0.32 * len(goals)
    figure, (bars, sizes, times) = pyplot.subplots(
        1, 3, figsize=(15, max(4.0, height)), width_ratios=(1.6, 1, 1), layout="constrained"
    )
    _bars(bars, goals)
    _curve(
        sizes, curves, ("folders", "store", "bundle", "more"), "MB, files of 1/200 of their size"
    )
    _curve(times, curves, ("verify", "verify_all"), "seconds")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _bars(axes: Any, goals: Sequence[Goal]) -> None:
    """What was measured, in parts of what it may be: the limit is the same line for all."""
    shares = [goal.share for goal in goals]
    colours = [_GOOD if goal.is_met else _BAD for goal in goals]
    axes.barh(range(len(goals)), [min(share, 4) for share in shares], color=colours)
    axes.axvline(1, color=_LINE, linewidth=1)
    axes.set_yticks(range(len(goals)), [goal.what for goal in goals])
    axes.invert_yaxis()
    axes.set_xlim(0, 4.6)
    for row, (goal, share) in enumerate(zip(goals, shares, strict=True)):
        text = f" {goal.found:.3g} {goal.unit}".rstrip() + f" of {goal.limit:.3g}"
        axes.text(min(share, 4), row, text, va="center", fontsize=8)
    axes.set_title("measured, where 1 is the most it may be (shorter is better)")


def _curve(axes: Any, curves: Curves, names: Sequence[str], unit: str) -> None:
    for name in names:
        if name in curves:
            count, value = zip(*curves[name], strict=True)
            axes.plot(count, value, marker="o", label=_LABELS[name])
    axes.set_xlabel("voices of one base")
    axes.set_title(unit)
    axes.set_ylim(bottom=0)
    if curves:
        axes.legend(frameon=False)


if __name__ == "__main__":
    results_path = Path(sys.argv[1])
    draw(*kept(results_path), results_path.with_suffix(".svg"))
