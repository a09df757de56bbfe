"""``benchmarks/RESULTS.md``: one section for each program, which replaces its own."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

Curves = Mapping[str, Sequence[Sequence[float]]]
"""Name of a line to its points."""
PATH = Path(__file__).with_name("RESULTS.md")
HEAD = """\
# Figures

What the programs in this folder measured: always against a peer in the same run, on the same files.
Each section is written by the command in it, and written again by it with `--record`; `make bench`
runs all of them. Ratios travel from machine to machine; seconds do not.

## Goals
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What was aimed at, and what was measured: smaller is better.

    Attributes:
        what: For the table and the picture.
        limit: What it may be at most.
        found: What it was.
        unit: Of both; empty for a ratio.
        cause: Why it is not met, where that is known.
    """

    what: str
    limit: float
    found: float
    unit: str = ""
    cause: str = ""

    @property
    def is_met(self) -> bool:
        """Whether it is within the limit."""
        return self.found <= self.limit

    @property
    def share(self) -> float:
        """What was measured, in parts of the limit; of none at all, anything is too much."""
        if self.limit:
            return self.found / self.limit
        return math.inf if self.found else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What one program has to tell.

    Attributes:
        title: Of the section.
        command: That measures it again.
        lines: The figures.
        goals: Those that these figures belong to.
        curves: Name of a line in the picture to its points.
    """

    title: str
    command: str
    lines: Sequence[str]
    goals: Sequence[Goal] = ()
    curves: Curves = field(default_factory=dict)


def record(section: Section, path: Path = PATH) -> None:
    """Replace a section, or add it: command, machine and date, then the lines.

    What all sections have for the table of goals and for the picture is kept beside it, as JSON, so
    that both can be made again when one of them is measured anew.
    """
    when = f"{datetime.now(timezone.utc):%Y-%m-%d}, load average {os.getloadavg()[1]:.1f}"
    about = [f"`{section.command}`", "", f"{machine()}, {when}.", ""]
    put(section.title, [*about, "```", *section.lines, "```"], path)
    beside = path.with_suffix(".json")
    data = json.loads(beside.read_text("utf-8")) if beside.exists() else {}
    goals = [asdict(goal) for goal in section.goals]
    data[section.title] = {"goals": goals, "curves": dict(section.curves)}
    lines = [f"{json.dumps(title)}: {json.dumps(one)}" for title, one in data.items()]
    beside.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    summarize(path)


def summarize(path: Path = PATH) -> None:
    """Write the table of goals, and the picture, from what was kept of all sections."""
    # In a process of its own: what is started from a large one counts as large.
    subprocess.run([sys.executable, "-m", "benchmarks.picture", path], check=True)
    goals, _ = kept(path)
    head = f"![Measured against what was aimed at]({path.with_suffix('.svg').name})"
    put("Goals", [head, "", *goal_lines(goals)], path)


def kept(path: Path = PATH) -> tuple[list[Goal], Curves]:
    """The goals and the curves of all sections."""
    data = json.loads(path.with_suffix(".json").read_text("utf-8"))
    goals = [Goal(**goal) for one in data.values() for goal in one["goals"]]
    return goals, {name: line for one in data.values() for name, line in one["curves"].items()}


def put(title: str, body: Sequence[str], path: Path = PATH) -> None:
    """Replace the section of a title by these lines, or add it at the end."""
    section = "\n".join([f"## {title}", "", *body, ""])
    text = path.read_text("utf-8") if path.exists() else HEAD
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    if pattern.search(text):
        text = pattern.sub(lambda _: section + "\n", text)
    else:
        text = f"{text.rstrip()}\n\n{section}"
    path.write_text(text.rstrip() + "\n", "utf-8")


def goal_lines(goals: Sequence[Goal]) -> list[str]:
    """A table of all goals, for Markdown."""
    lines = ["| | at most | measured | |", "|---|---|---|---|"]
    for goal in goals:
        verdict = "met" if goal.is_met else f"**not met**: {goal.cause or 'cause not known'}"
        unit = f" {goal.unit}" if goal.unit else ""
        lines.append(
            f"| {goal.what} | {goal.limit:.3g}{unit} | {goal.found:.3g}{unit} | {verdict} |"
        )
    return lines


def machine() -> str:
    """What the figures were measured on, in a few words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"))
    name = cpu.group(1).strip() if cpu else platform.machine()
    kernel, python = platform.release().split("-")[0], platform.python_version()
    return f"{os.cpu_count()} cores ({name}), {memory:.0f} GiB, Linux {kernel}, Python {python}"
