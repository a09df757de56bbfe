"""``benchmarks/RESULTS.md``: one section for each program, which replaces its own."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

PATH = Path(__file__).with_name("RESULTS.md")
HEAD = """\
# Figures

What the programs in this folder measured: always against a peer in the same run, on the same files.
Each section is written by the command in it, and written again by it with `--record`; `make bench`
runs all of them. Ratios travel from machine to machine; seconds do not.
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
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)


def record(section: Section, path: Path = PATH) -> None:
    """Replace a section, or add it: command, machine and date, then the lines."""
    about = [f"`{section.command}`", "", f"{machine()}, {datetime.now(timezone.utc):%Y-%m-%d}.", ""]
    put(section.title, [*about, "```", *section.lines, "```"], path)


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
        lines.append(f"| {goal.what} | {goal.limit:g}{unit} | {goal.found:.3g}{unit} | {verdict} |")
    return lines


def machine() -> str:
    """What the figures were measured on, in a few words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"))
    name = cpu.group(1).strip() if cpu else platform.machine()
    kernel, python = platform.release().split("-")[0], platform.python_version()
    return f"{os.cpu_count()} cores ({name}), {memory:.0f} GiB, Linux {kernel}, Python {python}"
