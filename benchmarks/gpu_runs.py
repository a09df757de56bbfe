"""Whole runs on a GPU, and the memory that steps take there: two parts of `benchmarks.gpu`."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.race import XTTSREG, gone
from benchmarks.stock import tell

if TYPE_CHECKING:
    from benchmarks.gpu import Plan

PROBED = (("", 1), ("", 4), ("", 8), ("bf16", 8), ("fp16", 8))  # precision, batch
PROBE_STEPS = 12
TOO_LARGE = 250  # clips, of 11.5 s
Losses = dict[int, float]


def options(plan: Plan, dataset: Path, **more: Any) -> Any:
    """Options of a run without evaluation that saves nothing before its end."""
    from xttsreg.training.options import TrainOptions

    common: dict[str, Any] = {
        "dataset": dataset, "epochs": 1, "batch_size": plan.batch_size, "grad_accum": 1,
        "workers": plan.workers, "device": plan.device, "eval_split": 0, "seed": 1,
        "save_step": 100_000,
    }  # fmt: skip
    return TrainOptions(**{**common, **more})


def apart(some: Sequence[float], others: Sequence[float]) -> float:
    """The largest difference of two rows of losses, as a part of their value."""
    return max(abs(a - b) / abs(b) for a, b in zip(some, others, strict=True))


# --- runs ----------------------------------------------------------------------------------------


class Run:
    """A run of the command line, in a folder of its own.

    Args:
        plan: What is measured.
        name: Of the voice, and of the folder.
    """

    def __init__(self, plan: Plan, name: str) -> None:
        self.plan, self.name = plan, name
        self.folder = gone(plan.directory / f"run-{name}")
        self.began = time.time()
        self._child: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start it."""
        plan = self.plan
        self._start(
            "--model", "own", "--dataset", plan.clips, "--name", self.name, "--language", "en",
            "--epochs", 1, "--batch-size", plan.batch_size, "--grad-accum", 1,
            "--workers", plan.workers, "--device", plan.device, "--eval-split", 8,
            "--save-step", plan.steps * 2 // 5, "--output", self.folder,
            "--speaker-wav", plan.clips / "reference.wav",
            "--no-samples" if plan.device == "cpu" else "--samples",
        )  # fmt: skip

    def resume(self) -> None:
        """Start it again where its last checkpoint is."""
        self._start("--resume", self.folder)

    def kill(self, after_step: int) -> None:
        """Let it come to a step, and no further.

        Raises:
            RuntimeError: it ended before.
        """
        assert self._child is not None
        while max(self.losses(), default=0) < after_step:
            if self._child.poll() is not None:
                raise RuntimeError(f"{self.name} ended by itself: {self.said()}")
            time.sleep(0.02)
        self._child.kill()
        self._child.wait()

    def end(self) -> float:
        """Wait for its end; return how many seconds it took.

        Raises:
            RuntimeError: it failed.
        """
        assert self._child is not None
        if self._child.wait():
            raise RuntimeError(f"{self.name} ended with {self._child.returncode}: {self.said()}")
        return time.time() - self.began

    def losses(self) -> Losses:
        """By step, as far as it has come."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text("utf-8").split("\n")[:-1] if path.is_file() else []
        events = [json.loads(line) for line in lines if line.endswith("}")]
        return {e["step"]: e["loss"] for e in events if e["event"] == "step"}

    def said(self) -> str:
        """The last that it said."""
        return self._log.read_text("utf-8", "replace")[-3000:]

    def voice(self) -> str:
        """Digest of the weights that came out."""
        voice = f"{self.name}:v1"
        told = subprocess.run(
            [*XTTSREG, "inspect", voice, "--json", "--store", str(self.plan.directory / "store")],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        files = json.loads(told)["files"]
        return next(str(file["digest"]) for file in files if file["path"] == "model.pth")

    @property
    def _log(self) -> Path:
        return self.folder.with_suffix(".log")

    def _start(self, *arguments: object) -> None:
        store = ["--store", self.plan.directory / "store", "--accept-license"]
        command = [*XTTSREG, "train", *arguments, *store]
        self.began = time.time()
        with self._log.open("ab") as log:
            self._child = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)


def going_on(plan: Plan) -> list[str]:
    """A whole run, and one that is killed, compared step by step."""
    whole, killed = Run(plan, "whole"), Run(plan, "killed")
    at = plan.steps * 13 // 20
    whole.begin()
    if not plan.together:
        whole.end()
    killed.begin()
    killed.kill(at)
    before = killed.losses()
    killed.resume()
    killed.end()
    whole.end()
    one, other = whole.losses(), killed.losses()
    since = max(plan.steps * 2 // 5, 1)
    lines = [
        *proof(whole),
        f"another: SIGKILL after step {max(before)}, went on from the checkpoint of step {since}",
        f"losses, whole to killed, steps 1 to {at}: {same(one, before, range(1, at + 1))}",
        f"losses, whole to resumed, steps {since + 1} to {plan.steps}: "
        f"{same(one, other, range(since + 1, plan.steps + 1))}",
        f"weights of the two voices: {weights(plan, whole, killed)}",
    ]
    for run in (whole, killed):
        keep(run)
    return lines


def proof(run: Run) -> list[str]:
    """What the run's folder says of it."""
    found = json.loads((run.folder / "proof.json").read_text("utf-8"))
    record = json.loads((run.folder / "run.json").read_text("utf-8"))
    steps = run.losses()
    report = (run.folder / "report.html").stat().st_size
    return [
        f"train, {len(steps)} steps: restored {found['restored']} / {found['total']} layers, "
        f"loss {steps[1]:.3f} to {steps[max(steps)]:.3f}, state {record['state']}",
        f"voice {record.get('registered') or 'NOT REGISTERED'}, report of {report / 1e6:.1f} MB",
    ]


def same(some: Losses, others: Losses, steps: range) -> str:
    """How far two rows of losses are apart."""
    missing = [step for step in steps if step not in some or step not in others]
    if missing:
        return f"MISSING: {missing[:5]}"
    pairs = [(some[step], others[step]) for step in steps]
    if all(a == b for a, b in pairs):
        return "the same, to the last digit"
    return f"{apart(*zip(*pairs, strict=True)):.1e} of their value apart at most"


def weights(plan: Plan, one: Run, other: Run) -> str:
    """How far the models of two runs are apart."""
    from xttsreg.training.checkpoint import load_model_state

    if one.voice() == other.voice():
        return "the same file"
    ours, theirs = (load_model_state(run.folder / "best_model.pth") for run in (one, other))
    base = load_model_state(plan.view / "model.pth")
    moved = most = 0.0
    for name in (name for name in ours if name.startswith("gpt.")):
        most = max(most, float((ours[name] - theirs[name]).abs().max()))
        moved = max(moved, float((ours[name] - base[name]).abs().max()))
    return f"{most:.1e} apart at most, where training moved them by up to {moved:.1e}"


def keep(run: Run) -> None:
    """Copy what a run tells of itself to where it is wanted."""
    if run.plan.evidence is None:
        return
    place = run.plan.evidence / run.name
    place.mkdir(parents=True, exist_ok=True)
    for pattern in ("*.json*", "report*", "trainer_0_log.txt"):
        for path in run.folder.glob(pattern):
            shutil.copyfile(path, place / path.name)
    shutil.copyfile(run.folder.with_suffix(".log"), place / "output.txt")


# --- memory --------------------------------------------------------------------------------------


def memory(plan: Plan) -> list[str]:
    """What steps of the longest clips take, and what is said where it is too much."""
    output = gone(plan.directory / "probe")
    from benchmarks.gpu import SECONDS, again

    command = plan.command("benchmarks.gpu", *again(plan), "--probe", output)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    lines = [
        f"clips of {SECONDS[plan.size][1]} s",
        "precision               batch   estimated GB   allocated   reserved   steps a second",
    ]
    for one in told:
        rate = (len(one["at_s"]) - 3) / (one["at_s"][-1] - one["at_s"][2])
        lines.append(
            f"{one['precision'] or 'single':22}{one['batch']:7}{one['estimated'] / 1e9:15.1f}"
            f"{one.get('gpu_bytes', 0) / 1e9:12.1f}{one.get('gpu_reserved_bytes', 0) / 1e9:11.1f}"
            f"{rate:17.2f}"
        )
    if done.returncode:
        lines.append(f"probe ended with {done.returncode}: {done.stderr[-2000:]}")
    if plan.device != "cpu":
        lines += too_large(plan)
    return lines


def probe(plan: Plan, output: Path) -> None:
    """In one process: runs of a few steps each, each with other memory."""
    import torch

    from xttsreg.content.checkpoint import summarize
    from xttsreg.errors import XttsregError
    from xttsreg.training.preflight_plan import gpu_bytes
    from xttsreg.training.run import train

    class Enough(XttsregError):
        """No more steps, and nothing to be saved."""

    def until(count: int, at_s: list[float]) -> Callable[[dict[str, Any]], None]:
        def listen(event: dict[str, Any]) -> None:
            if event["event"] == "step":
                at_s.append(time.perf_counter())
                if event["step"] == count:
                    raise Enough("enough")

        return listen

    summary = summarize(plan.view / "model.pth")
    for precision, batch in PROBED:
        chosen = {"mixed_precision": "true", "precision": precision} if precision else {}
        at_s: list[float] = []
        try:
            train(
                plan.view, options(plan, plan.long_clips, batch_size=batch, overrides=chosen),
                gone(output), on_event=until(PROBE_STEPS, at_s),
            )  # fmt: skip
        except XttsregError as error:
            if not isinstance(error, Enough):
                raise
        estimated = gpu_bytes(summary, batch)
        tell(event="probe", precision=precision, batch=batch, estimated=estimated, at_s=at_s)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def too_large(plan: Plan) -> list[str]:
    """Ask for more than there is."""
    folder = gone(plan.directory / "too-large")
    command = [
        *XTTSREG, "train", "--model", "own", "--dataset", plan.long_clips, "--name", "large",
        "--language", "en", "--epochs", 1, "--batch-size", TOO_LARGE, "--grad-accum", 1,
        "--workers", plan.workers, "--device", plan.device, "--eval-split", 0, "--no-samples",
        "--output", folder, "--store", plan.directory / "store", "--accept-license",
    ]  # fmt: skip
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    said = done.stderr.strip().splitlines()[-2:]
    return [f"a batch of {TOO_LARGE}: exit code {done.returncode}", *said]
