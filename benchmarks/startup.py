"""How long the command line takes to start, in relation to bare Python."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15


def seconds(*arguments: str) -> float:
    """Wall time of one Python process, in seconds."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def compare() -> list[tuple[str, float, float]]:
    """Name, median milliseconds and ratio to ``python -c pass``, measured in turns."""
    commands = {
        "python -c pass": ("-c", "pass"),
        "xttsreg --version": ("-m", "xttsreg", "--version"),
        "xttsreg --help": ("-m", "xttsreg", "--help"),
        "xttsreg catalog ls": ("-m", "xttsreg", "catalog", "ls"),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, arguments in commands.items():
            times[name].append(seconds(*arguments))
    medians = {name: statistics.median(values) for name, values in times.items()}
    bare = medians["python -c pass"]
    return [(name, median * 1000, median / bare) for name, median in medians.items()]


def main() -> None:
    """Print the comparison."""
    for name, milliseconds, ratio in compare():
        sys.stdout.write(f"{name:<20} {milliseconds:7.0f} ms  {ratio:5.1f} x\n")


if __name__ == "__main__":
    main()
