"""``benchmarks/RESULTS.md``: one section for each program, which replaces its own."""

from __future__ import annotations

import os
import platform
import re
from datetime import datetime, timezone
from pathlib import Path

PATH = Path(__file__).with_name("RESULTS.md")


def record(title: str, command: str, lines: list[str]) -> None:
    """Replace the section of a title, or add it: command, machine and date, then the lines."""
    about = [f"`{command}`", "", f"{machine()}, {datetime.now(timezone.utc):%Y-%m-%d}.", ""]
    section = "\n".join([f"## {title}", "", *about, "```", *lines, "```", ""])
    text = PATH.read_text("utf-8")
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    if pattern.search(text):
        text = pattern.sub(lambda _: section + "\n", text)
    else:
        text = f"{text.rstrip()}\n\n{section}"
    PATH.write_text(text.rstrip() + "\n", "utf-8")


def machine() -> str:
    """What the figures were measured on, in a few words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"))
    name = cpu.group(1).strip() if cpu else platform.machine()
    kernel, python = platform.release().split("-")[0], platform.python_version()
    return f"{os.cpu_count()} cores ({name}), {memory:.0f} GiB, Linux {kernel}, Python {python}"
