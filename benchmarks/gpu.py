"""Training on a GPU: xttsreg against the stock recipe, on the same card in the same run.

``python -m benchmarks.gpu [--size tiny|full] [--batch-size N] [--steps N] [--rounds N]
[--directory DIR] [--evidence DIR] [--together] [--parts LIST] [--record]`` makes a random weight
set with the real classes and clips as long as those of real datasets. Its parts:

- ``race``: the stock recipe's code and ``xttsreg train``'s in fresh processes, in turns;
- ``resume``: a whole run of the command line, and one that is killed and goes on;
- ``memory``: what steps of the longest clips take, against the doctor's estimate, and in mixed
  precision; then a batch that no card has memory for.

For the full size: 30 GB of disk and a card with 40 GB for a batch of 8. ``--device cpu`` sees that
it all runs.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import gpu_runs, results
from benchmarks.race import XTTSREG, gone, quietly
from benchmarks.results import Goal, Section
from benchmarks.stock import leave, tell
from benchmarks.transfer import weight_set

PARTS = ("race", "resume", "memory")
LR = 5e-6  # with a higher one, the last digit of a sum grows to another loss in twenty steps
WARM = 10  # steps of which no time is taken
SECONDS = {"full": (2.0, 11.5), "tiny": (1.5, 3.5)}  # of clips; a model takes up to 11.6, or 3.6
DISTINCT = 24  # clips; the others are copies, which cost a trainer as much as new ones
Events = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured, and where."""

    size: str
    device: str
    batch_size: int
    workers: int
    steps: int
    race_steps: int
    rounds: int
    directory: Path
    evidence: Path | None
    together: bool

    @property
    def view(self) -> Path:
        """The weight set."""
        return self.directory / self.size

    @property
    def clips(self) -> Path:
        """The dataset that runs are made with: one epoch of them."""
        return self.directory / "clips"

    @property
    def long_clips(self) -> Path:
        """One whose clips and texts are as long as the recipe takes them."""
        return self.directory / "long-clips"

    def command(self, module: str, *arguments: object) -> list[str]:
        """A program of this folder, with what all of them have to know."""
        numbers = ["--batch-size", self.batch_size, "--workers", self.workers]
        return [sys.executable, "-m", module, *map(str, (*arguments, *numbers))]


def prepare(plan: Plan) -> None:
    """Make the files of all parts, those of a run before are kept."""
    weight_set(plan.directory, plan.size)
    shortest, longest = SECONDS[plan.size]
    clips = max(plan.steps, plan.race_steps) * plan.batch_size + 8
    make_clips(plan.clips, clips, (shortest, longest), distinct=DISTINCT, sentences=2)
    make_clips(plan.long_clips, 256, (longest, longest), distinct=4, sentences=5)
    place = plan.directory / "store"
    if not place.exists():
        quietly([*XTTSREG, "add", "own", plan.view, "--store", place, "--accept-license"])


def make_clips(
    directory: Path, clips: int, seconds: tuple[float, float], *, distinct: int, sentences: int
) -> None:
    """A dataset in the LJSpeech layout, with clips as long as it is told, the rest copies."""
    from xttsreg.demo.clips import sentence

    if (directory / "metadata.csv").is_file():  # written last
        return
    wavs = directory / "wavs"
    wavs.mkdir(parents=True, exist_ok=True)
    paths = [wavs / f"clip_{number:05d}.wav" for number in range(clips)]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_write, paths[:distinct], [seconds] * distinct))
    _write(directory / "reference.wav", (6.0, 6.0))
    lines = []
    for number, path in enumerate(paths):
        if number >= distinct:
            shutil.copyfile(paths[number % distinct], path)
        text = " ".join(sentence(number + place) for place in range(sentences))[:190]
        lines.append(f"{path.stem}|{text}|{text}\n")
    (directory / "metadata.csv").write_text("".join(lines), encoding="utf-8", newline="\n")


def _write(path: Path, seconds: tuple[float, float]) -> None:
    """One clip; the same name gives the same."""
    from xttsreg.demo.clips import write_clip

    rng = random.Random(path.stem)
    write_clip(path, seconds=rng.uniform(*seconds), rng=rng)


# --- the race ------------------------------------------------------------------------------------


def ours(plan: Plan, output: Path) -> None:
    """Train with xttsreg in this process, as the stock recipe does in its own."""
    from xttsreg.training.run import train

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
            if event["step"] == plan.race_steps:
                leave()

    train(plan.view, gpu_runs.options(plan, plan.clips, lr=LR), output, on_event=listen)


def race(plan: Plan) -> tuple[list[str], list[Goal]]:
    """Both in turns."""
    theirs = plan.directory / "stock-view"  # the second engine may write to it
    if not theirs.exists():
        shutil.copytree(plan.view, theirs)
    cuda = [] if plan.device == "cpu" else ["--cuda"]
    found: dict[str, list[Events]] = {"stock": [], "train": []}
    for _ in range(plan.rounds):
        for which, starts in found.items():
            output = gone(plan.directory / "race")
            if which == "stock":
                places = (theirs, plan.clips, output, plan.race_steps, *cuda, "--lr", LR)
                command = plan.command("benchmarks.stock", *places)
            else:
                command = plan.command("benchmarks.gpu", *again(plan), "--ours", output)
            starts.append(start(command, plan.device))
    gone(plan.directory / "race")
    gone(theirs)
    return race_lines(plan, found), list(goals(plan, found))


def again(plan: Plan) -> list[object]:
    """The arguments that make the same plan in another process."""
    return ["--size", plan.size, "--device", plan.device, "--race-steps", plan.race_steps,
            "--directory", plan.directory]  # fmt: skip


def start(command: Sequence[str], device: str) -> Events:
    """Run one in a fresh process; return what it told, seconds from its start.

    Raises:
        RuntimeError: it failed, or was on the CPU where a GPU was meant.
    """
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    if done.returncode or not events:
        raise RuntimeError(f"{command[2]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    if device == "cuda" and "gpu_bytes" not in events[-1]:
        raise RuntimeError(f"{command[2]} did not use the GPU")
    return [{**event, "after_s": event["at"] - began} for event in events]


def steps_of(events: Events) -> Events:
    """The steps that a process told."""
    return [event for event in events if event["event"] == "step"]


def step_seconds(starts: list[Events]) -> float:
    """Of one step, warm; the median of the rounds."""
    rounds = []
    for steps in map(steps_of, starts):
        rounds.append((steps[-1]["at"] - steps[WARM - 1]["at"]) / (len(steps) - WARM))
    return statistics.median(rounds)


def race_lines(plan: Plan, found: dict[str, list[Events]]) -> list[str]:
    """A table of medians and their ratios."""

    def row(label: str, of: Callable[[list[Events]], float]) -> str:
        stock, own = (of(starts) for starts in found.values())
        return f"{label:40}{stock:9.2f}{own:9.2f}{own / stock:7.2f}" if stock else f"{label:40} -"

    def last(key: str, unit: float = 1.0) -> Callable[[list[Events]], float]:
        return lambda starts: statistics.median(e[-1].get(key, 0) / unit for e in starts)

    def first(kind: str, key: str) -> Callable[[list[Events]], float]:
        return lambda starts: statistics.median(
            next(e for e in events if e["event"] == kind)[key] for events in starts
        )

    shortest, longest = SECONDS[plan.size]
    return [
        f"batch {plan.batch_size}, clips of {shortest} to {longest} s, {plan.race_steps} steps, "
        f"single precision; median of {plan.rounds} in turns",
        f"{'':40}{'stock':>9}{'train':>9}{'ratio':>7}",
        row("construction, s", first("model", "construct_s")),
        row("construction, CPU s", first("model", "construct_cpu_s")),
        row("start to end of step 1, s", first("step", "after_s")),
        row(f"steps a second, from step {WARM} on", lambda starts: 1 / step_seconds(starts)),
        row("clips a second", lambda starts: plan.batch_size / step_seconds(starts)),
        row("peak GPU memory, allocated, GB", last("gpu_bytes", 1e9)),
        row("peak GPU memory, reserved, GB", last("gpu_reserved_bytes", 1e9)),
        row("peak resident memory, GB", last("peak_bytes", 1e9)),
        f"losses of {plan.race_steps} steps: {losses_compared(found)}",
    ]  # fmt: skip


def losses_compared(found: dict[str, list[Events]]) -> str:
    """Whether all processes had the same losses; else how far they are apart."""
    runs = {
        which: [[event["loss"] for event in steps_of(events)] for events in starts]
        for which, starts in found.items()
    }
    first, *others = runs["stock"]
    across = max(gpu_runs.apart(run, first) for run in runs["train"])
    within = max((gpu_runs.apart(run, first) for run in others), default=0.0)
    if not across and not within:
        return "the same in all, to the last digit"
    return f"train is up to {across:.1e} of their value from stock, stock {within:.1e} from itself"


def goals(plan: Plan, found: dict[str, list[Events]]) -> Iterator[Goal]:
    """What these figures were meant to be."""
    if plan.device == "cpu":
        return
    step = {which: step_seconds(starts) for which, starts in found.items()}
    memory = {which: starts[0][-1]["gpu_bytes"] for which, starts in found.items()}
    yield Goal(what=f"a step of the {plan.size} model on a GPU, train to stock", limit=1.05,
               found=step["train"] / step["stock"])  # fmt: skip
    yield Goal(what=f"GPU memory of the {plan.size} model, train to stock", limit=1.0,
               found=round(memory["train"] / memory["stock"], 3))  # fmt: skip


# --- all of it -----------------------------------------------------------------------------------


def card() -> str:
    """The GPU, and what drives it."""
    script = (
        "import torch; from xttsreg.training.engine import require_engine as e;"
        " n = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None;"
        " print(f'{n.name}, {n.total_memory / 1e9:.0f} GB' if n else 'no GPU',"
        " f'torch {torch.__version__}', e().name, sep=', ')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def run(plan: Plan, parts: Sequence[str]) -> Section:
    """Measure; a part that fails is told, and the others go on."""
    prepare(plan)
    lines, aims = [card()], []
    for part in parts:
        began = time.monotonic()
        print(f"== {part}", flush=True)
        try:
            if part == "race":
                told, aims = race(plan)
            else:
                told = gpu_runs.going_on(plan) if part == "resume" else gpu_runs.memory(plan)
        except (RuntimeError, OSError, ValueError, LookupError) as error:
            told = [f"FAILED: {error}"]
        print(*told, f"({time.monotonic() - began:.0f} s)", sep="\n", flush=True)
        lines += ["", *told]
    command = f"python -m benchmarks.gpu --size {plan.size} --batch-size {plan.batch_size}"
    return Section(
        title="Training on a GPU", command=f"{command} --record", lines=lines, goals=aims
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--size", choices=("tiny", "full"), default="full")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--steps", type=int, default=200, help="of the whole run")
    parser.add_argument("--race-steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--directory", type=Path, help="keeps the files for the next time")
    parser.add_argument("--evidence", type=Path, help="gets reports and records of the runs")
    parser.add_argument("--together", action="store_true", help="two runs at once: large cards")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--record", action="store_true", help="write it into RESULTS.md")
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--probe", type=Path, help=argparse.SUPPRESS)
    given = vars(parser.parse_args(arguments))
    output, probe, parts, record = (given.pop(n) for n in ("ours", "probe", "parts", "record"))
    with tempfile.TemporaryDirectory() as scratch:
        directory = (given.pop("directory") or Path(scratch)).absolute()
        directory.mkdir(parents=True, exist_ok=True)
        plan = Plan(directory=directory, **given)
        if output:
            return ours(plan, output)
        if probe:
            return gpu_runs.probe(plan, probe)
        section = run(plan, parts.split(",") if parts else [])
    if record:
        results.record(section)


if __name__ == "__main__":
    main()
