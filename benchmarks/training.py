"""How a fine-tune starts, saves and goes on: xttsreg against the stock recipe, same files.

Three ways: the stock recipe's code as it is, ``xttsreg train``'s, and the stock code below
``xttsreg exec``, which includes its check of the weights.

``python -m benchmarks.training [--size tiny|full] [--rounds N] [--directory DIR] [--record]`` makes
a random weight set with the real classes, then starts all in fresh processes in turn and measures
the construction of the model, the time from the start of the process to the end of the first step
(both also as processor time, which other work on the machine disturbs less), and the peak of its
resident memory; compares the first three losses; then measures what an epoch's end writes, and
whether and how fast a run that was killed goes on. Medians of the rounds. For the full size: 20 GB
of disk and 12 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.alone import alone
from benchmarks.race import XTTSREG, quietly
from benchmarks.results import Goal, Section
from benchmarks.stock import tell
from benchmarks.transfer import weight_set

STEPS = 3
CLIPS = 6  # three steps of two: an epoch of the size that is measured
# The stock code, on the files that a recipe gets.
_RECIPE = (
    "import sys; from pathlib import Path; from benchmarks import stock;"
    " from huggingface_hub import snapshot_download as view;"
    " stock.main(*map(Path, [view('coqui/XTTS-v2'), *sys.argv[1:3]]), int(sys.argv[3]))"
)
_CAUSE = "exec reads what a recipe may write to, where train maps it"
Events = list[dict[str, Any]]


def ours(view: Path, dataset: Path, output: Path, what: str) -> None:
    """Train with xttsreg in this process: ``start``, ``save``, ``kill`` or ``resume``."""
    from xttsreg.training.options import TrainOptions
    from xttsreg.training.run import train

    options = TrainOptions(
        dataset=dataset, epochs=1, batch_size=2, grad_accum=1, workers=0, device="cpu", lr=1e-3,
        eval_split=0, seed=1, save_step=2 if what in ("kill", "resume") else 1000,
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
            if (what, event["step"]) in (("start", STEPS), ("kill", STEPS)):
                os._exit(9 if what == "kill" else 0)  # nothing is saved, nothing is closed

    train(view, options, output, on_event=listen, resume=what == "resume")


def start(which: str, store: Path, view: Path, dataset: Path, output: Path, what: str) -> Events:
    """Run one of the three in a fresh process; return what it told, seconds from its start."""
    arguments = [str(view), str(dataset), str(output)]
    steps = STEPS + 1 if what == "save" else STEPS
    command = [sys.executable, "-m", "benchmarks.stock", *arguments, str(steps)]
    if which == "train":
        command = [sys.executable, "-m", "benchmarks.training", "--ours", *arguments, what]
    elif which == "exec":
        place = ["--store", str(store), "--", sys.executable, "-c", _RECIPE]
        command = [*XTTSREG, "exec", *place, *arguments[1:], str(steps)]
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    if done.returncode != (9 if what == "kill" else 0) or "step" not in [
        e["event"] for e in events
    ]:
        raise RuntimeError(f"{which} ended with {done.returncode}:\n{done.stderr}")
    return [{**event, "after_s": event["at"] - began} for event in events]


def run(directory: Path, size: str, rounds: int) -> Section:
    """Measure, and return the lines of the result."""
    from xttsreg.demo.clips import make_dataset

    view = weight_set(directory, size)
    directory = directory / f"training-{size}"
    directory.mkdir(exist_ok=True)
    dataset, output = directory / "clips", directory / "run"
    if not dataset.is_dir():
        make_dataset(dataset, clips=CLIPS)
    place = directory / "store"
    store = ["--store", place, "--accept-license"]
    quietly([*XTTSREG, "add", "own", view, *store])
    starts: dict[str, list[Events]] = {"stock": [], "train": [], "exec": []}
    saved: dict[str, tuple[int, int]] = {}
    for turn in range(rounds):  # in turn, so that a slower or faster minute meets both
        for which, found in starts.items():
            what = "save" if turn == 0 else "start"  # the first one goes on to its checkpoint
            found.append(start(which, place, view, dataset, output, what))
            if turn == 0:
                saved[which] = checkpoints(output)
            shutil.rmtree(output)
    start("train", place, view, dataset, output, "kill")
    resumed = start("train", place, view, dataset, output, "resume")
    shutil.rmtree(directory)
    return Section(
        title=f"Training, {size} set",
        command=f"python -m benchmarks.training --size {size} --rounds {rounds} --record",
        lines=[*report(size, starts), *kept(saved), *going_on(starts["train"][0], resumed)],
        goals=list(goals(size, starts)) if size == "full" else (),
    )


def goals(size: str, starts: dict[str, list[Events]]) -> Iterator[Goal]:
    """What the figures of the full model were meant to be: of a tiny one, most is overhead."""
    built = {which: median(found, "model", "construct_cpu_s") for which, found in starts.items()}
    steps = {which: further(found) for which, found in starts.items()}
    for which in ("train", "exec"):
        yield Goal(what=f"construction of the {size} model, {which} to stock, CPU", limit=0.2,
                   found=built[which] / built["stock"], cause=_CAUSE)  # fmt: skip
    yield Goal(what=f"a step of the {size} model, train to stock, CPU", limit=1.05,
               found=steps["train"] / steps["stock"])  # fmt: skip


def checkpoints(output: Path) -> tuple[int, int]:
    """Names of the checkpoints below a folder, and the bytes that they take on the disk."""
    files = [path.stat() for path in output.rglob("*.pth")]
    return len(files), sum({file.st_ino: file.st_blocks * 512 for file in files}.values())


def report(size: str, starts: dict[str, list[Events]]) -> list[str]:
    """Return the medians and their ratios as a table."""
    lines = [
        f"{size} set, median of {len(starts['stock'])}, no GPU",
        f"{'':32}{'stock':>8}{'train':>8}  ratio{'exec':>8}  ratio",
    ]
    for label, kind, key, unit in (
        ("construction, s", "model", "construct_s", 1.0),
        ("construction, CPU s", "model", "construct_cpu_s", 1.0),
        ("start to end of step 1, s", "step", "after_s", 1.0),
        ("start to end of step 1, CPU s", "step", "cpu_s", 1.0),
        ("peak resident by then, GB", "step", "peak_bytes", 1e9),
        ("one step more, CPU s", "more", "step_s", 1.0),
    ):
        if kind == "more":
            stock, own, below = (further(found) for found in starts.values())
        else:
            stock, own, below = (median(found, kind, key) / unit for found in starts.values())
        row = f"{label:32}{stock:8.2f}"
        lines.append(row + "".join(f"{v:8.2f}  {v / stock:5.2f}" for v in (own, below)))
    found = {tuple(losses(events)) for events in chain(*starts.values())}
    same = (
        f"{' '.join(map(str, *found))}, the same in all" if len(found) == 1 else f"DIFFER: {found}"
    )
    return [*lines, f"losses of {STEPS} steps: {same}"]


def median(starts: list[Events], kind: str, key: str) -> float:
    """Of the first event of a kind in each start."""
    first = [next(e for e in events if e["event"] == kind) for events in starts]
    return statistics.median(event[key] for event in first)


def further(starts: list[Events]) -> float:
    """CPU seconds of a step after the first: that one has what a process does once."""
    steps = [[e["cpu_s"] for e in events if e["event"] == "step"] for events in starts]
    return statistics.median((cpu[STEPS - 1] - cpu[0]) / (STEPS - 1) for cpu in steps)


def losses(events: Events) -> list[float]:
    """The losses that a process told."""
    return [event["loss"] for event in events if event["event"] == "step"]


def kept(saved: dict[str, tuple[int, int]]) -> list[str]:
    """What an epoch's end leaves on the disk."""
    return [
        f"checkpoints after an epoch, {which}: {names} names, {size / 1e9:.2f} GB"
        for which, (names, size) in saved.items()
    ]


def going_on(whole: Events, resumed: Events) -> list[str]:
    """Whether a killed run went on as if it had not been, and how long that took."""
    step = next(event for event in resumed if event["event"] == "step")
    same = "the same" if losses(resumed) == losses(whole)[step["step"] - 1 :] else "DIFFERENT"
    return [
        f"killed after step {STEPS}, went on with step {step['step']}: loss {step['loss']}, {same} "
        "as without",
        f"start of the resume to the end of its first step: {step['after_s']:.1f} s "
        f"({step['cpu_s']:.1f} CPU s)",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, print."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["--ours"]:  # a process of `start`
        ours(*map(Path, given[1:4]), given[4])
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--size", choices=("tiny", "full"), default="tiny")
    parser.add_argument("--rounds", type=int, default=3)
    alone(parser, lambda given, place: run(place, given.size, given.rounds), arguments)


if __name__ == "__main__":
    main()
