"""How fast a fine-tune starts: xttsreg against the stock recipe, same files, same machine.

``python -m benchmarks.training [--size tiny|full] [--rounds N] [--directory DIR]`` makes a random
weight set with the real classes, then starts both in fresh processes in turn and measures the
construction of the model, the time from the start of the process to the end of the first step (both
also as processor time, which other work on the machine disturbs less), and the peak of its resident
memory. The best of the rounds counts. For the full size: 3 GB of disk and 12 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.stock import tell

_MAKE = (
    "import sys; from pathlib import Path; from xttsreg.training.synthetic import make_weight_set;"
    " make_weight_set(Path(sys.argv[1]), size=sys.argv[2])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start: seconds and bytes. The construction is without the proof, the rest is with it."""

    construct_s: float
    construct_cpu_s: float
    first_step_s: float
    first_step_cpu_s: float
    peak_bytes: int
    loss: float


def ours(view: Path, dataset: Path, output: Path) -> None:
    """Train one step with xttsreg in this process."""
    from xttsreg.training.options import TrainOptions
    from xttsreg.training.run import train

    options = TrainOptions(
        dataset=dataset, epochs=2, batch_size=2, grad_accum=1, workers=0, device="cpu", lr=1e-3,
        eval_split=0, seed=1,
    )  # fmt: skip
    began = began_cpu = 0.0

    def listen(event: dict[str, Any]) -> None:
        nonlocal began, began_cpu
        if event["event"] == "dataset":
            began, began_cpu = time.perf_counter(), time.process_time()
        elif event["event"] == "model":
            tell(
                event="model",
                construct_s=time.perf_counter() - began,
                construct_cpu_s=time.process_time() - began_cpu,
            )
        elif event["event"] == "step":
            tell(event="step", step=event["step"], loss=event["loss"])
            os._exit(0)

    train(view, options, output, on_event=listen)


def measure(which: str, view: Path, dataset: Path) -> Start:
    """Start one of the two in a fresh process."""
    with tempfile.TemporaryDirectory(dir=view.parent) as scratch:
        arguments = [str(view), str(dataset), str(Path(scratch) / "run")]
        command = [sys.executable, "-m", "benchmarks.stock", *arguments, "1"]
        if which == "ours":
            command = [sys.executable, "-m", "benchmarks.training", "--ours", *arguments]
        began = time.time()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    if done.returncode or [event["event"] for event in events] != ["model", "step"]:
        raise RuntimeError(f"{which} ended with {done.returncode}:\n{done.stderr}")
    built, stepped = events
    return Start(
        construct_s=built["construct_s"],
        construct_cpu_s=built["construct_cpu_s"],
        first_step_s=stepped["at"] - began,
        first_step_cpu_s=stepped["cpu_s"],
        peak_bytes=stepped["peak_bytes"],
        loss=stepped["loss"],
    )


def run(size: str, rounds: int, directory: Path) -> list[str]:
    """Measure, and return the lines of the result."""
    from xttsreg.demo.clips import make_dataset

    view, dataset = directory / size, directory / "clips"
    if not (view / "LICENSE.txt").is_file():  # written last
        subprocess.run([sys.executable, "-c", _MAKE, str(view), size], check=True)
    if not dataset.is_dir():
        make_dataset(dataset)
    starts: dict[str, list[Start]] = {"stock": [], "ours": []}
    for _ in range(rounds):  # in turn, so that a slower or faster minute meets both
        for which, found in starts.items():
            found.append(measure(which, view, dataset))
    return report(size, starts)


def report(size: str, starts: dict[str, list[Start]]) -> list[str]:
    """Return the best values and their ratios as a table."""
    losses = {start.loss for found in starts.values() for start in found}
    rounds = len(starts["stock"])
    lines = [
        f"{size} set, best of {rounds}, no GPU",
        f"{'':30}{'stock':>8}{'ours':>8}  ratio",
    ]
    for label, name, unit in (
        ("construction, s", "construct_s", 1.0),
        ("construction, CPU s", "construct_cpu_s", 1.0),
        ("start to end of step 1, s", "first_step_s", 1.0),
        ("start to end of step 1, CPU s", "first_step_cpu_s", 1.0),
        ("peak resident, GB", "peak_bytes", 1e9),
    ):
        stock, own = (
            min(getattr(start, name) for start in starts[which]) / unit
            for which in ("stock", "ours")
        )
        lines.append(f"{label:30}{stock:8.2f}{own:8.2f}  {own / stock:.2f}")
    same = "the same in all" if len(losses) == 1 else f"DIFFERENT: {sorted(losses)}"
    return [*lines, f"loss of the first step: {same}"]


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="keeps the weight set for the next time")
    parser.add_argument("--ours", nargs=3, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ours:
        ours(*given.ours)
        return
    with tempfile.TemporaryDirectory() as scratch:
        directory = given.directory or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        lines = run(given.size, given.rounds, directory.absolute())
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
