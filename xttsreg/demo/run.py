"""The whole circle on tiny random weights, with the real trainer, as a user would walk it.

Every step is the ``xttsreg`` command in a process of its own; the second half runs without a
network (``unshare -n``) where the system permits that, and under the guard in any case.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xttsreg.demo.clips import make_dataset
from xttsreg.demo.hub import Hub
from xttsreg.demo.pins import catalog_entry
from xttsreg.errors import AlreadyExists, XttsregError

MODEL = "xtts_v2-tiny:main"
VOICE = "demo-voice:v1"
_MARKER = ".xttsreg-demo"
_REVISION = "0" * 39 + "1"
_REPO = "demo/xtts-tiny"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table at the end: what was done, and what came out."""

    step: str
    result: str


def run_demo(directory: Path, say: Say) -> list[Row]:
    """Run everything below ``directory``, which is emptied first if a demo made it.

    Args:
        directory: For weights, stores, the stick, the run.
        say: Called with a line before each step.

    Returns:
        The rows of the table.

    Raises:
        AlreadyExists: the directory holds something else.
        XttsregError: a step failed; its own output says why.
    """
    root = _prepare(directory)
    rows: list[Row] = []
    say("making a tiny weight set with the real classes, and 12 clips ...")
    _python(root, "-c", _MAKE_WEIGHTS, str(root / "upstream"))
    make_dataset(root / "dataset")
    rows.append(Row("weights made", f"{_megabytes(root / 'upstream')}, random, real format"))
    say("online: fetching over HTTP and bundling ...")
    rows += _online(root)
    prefix, isolation = offline_prefix()
    say(f"offline ({isolation}): importing into an empty store ...")
    imported = _xttsreg(root, "offline", "import", str(root / "stick"), "--json", prefix=prefix)
    rows.append(Row("imported offline", f"{imported['refs'][0].partition('@')[0]}, {isolation}"))
    say("offline: fine-tuning two epochs with the real GPTTrainer ...")
    rows += _train(root, prefix)
    say("offline: speaking with the new voice ...")
    rows += _speak(root, prefix)
    return rows


_MAKE_WEIGHTS = (
    "import sys; from pathlib import Path; from xttsreg.training.synthetic import make_weight_set;"
    " make_weight_set(Path(sys.argv[1]))"
)


def _prepare(directory: Path) -> Path:
    root = directory.absolute()
    if root.exists() and any(root.iterdir()) and not (root / _MARKER).exists():
        raise AlreadyExists(f"{root}: holds other things", hint="give an empty --directory")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    (root / _MARKER).touch()
    (root / "upstream").mkdir()
    (root / "catalog").mkdir()
    return root


def _online(root: Path) -> list[Row]:
    with Hub(root / "upstream", repo=_REPO, revision=_REVISION, other_host=True) as hub:
        entry = catalog_entry(
            root / "upstream",
            name=MODEL.partition(":")[0],
            revision=_REVISION,
            sources=[f"{hub.url}/{_REPO}/resolve/{{revision}}/{{path}}"],
            license_name="terms of the demo",
            summary=["Random weights: they speak noise, and may be used for anything."],
        )
        (root / "catalog" / "tiny.toml").write_text(entry, encoding="utf-8")
        bundled = _xttsreg(
            root, "online", "bundle", MODEL, "-o", str(root / "stick"),
            "--catalog", str(root / "catalog"), "--accept-license", "--json",
        )  # fmt: skip
        fetched = sum(request.method == "GET" for request in hub.requests)
    files, written_mb = len(bundled["bundle"]["files"]), bundled["written_bytes"] / 1e6
    return [
        Row("fetched over HTTP", f"{fetched} requests, large files from a second host"),
        Row("bundled", f"{files} files, {written_mb:.0f} MB in {root / 'stick'}"),
        Row("sha256sum -c", _sha256sum(root / "stick")),
    ]  # fmt: skip


def _sha256sum(stick: Path) -> str:
    if not shutil.which("sha256sum"):
        return "not on this machine"
    command = ["sha256sum", "--quiet", "-c", "SHA256SUMS"]
    done = subprocess.run(command, cwd=stick, capture_output=True, check=False)
    if done.returncode:
        raise XttsregError(f"sha256sum -c failed: {done.stdout.decode(errors='replace')}")
    return "passes, without xttsreg"


def _train(root: Path, prefix: Sequence[str]) -> list[Row]:
    done = _xttsreg(
        root, "offline", "train", "--model", MODEL, "--dataset", str(root / "dataset"),
        "--formatter", "ljspeech", "--language", "en", "--name", VOICE, "--epochs", "2",
        "--batch-size", "2", "--grad-accum", "1", "--lr", "1e-4", "--eval-split", "2",
        "--workers", "0", "--speaker-wav", str(root / "dataset" / "reference.wav"),
        "--output", str(root / "run"), "--json", prefix=prefix,
    )  # fmt: skip
    run, proof = done["run"], done["run"]["proof"]
    parts = ", ".join(f"{name} {part['restored']}/{part['total']}"
                      for name, part in proof["parts"].items())  # fmt: skip
    steps, evals = run["step_losses"], run["eval_losses"]
    first, last = steps[0]["loss"], steps[-1]["loss"]
    trend = " -> ".join(f"{loss['loss']:.4f}" for loss in evals)
    return [
        Row("layers restored", f"{proof['restored']} / {proof['total']}: {parts}"),
        Row("trained", f"{len(steps)} steps, loss {first:.4f} -> {last:.4f}"),
        Row("evaluation loss", trend),
        Row("registered", f"{done['voice']}, base {done['base'].partition('@')[0]}"),
        Row("report", done["report"]),
    ]  # fmt: skip


def _speak(root: Path, prefix: Sequence[str]) -> list[Row]:
    wav = root / "demo.wav"
    spoken = _xttsreg(
        root, "offline", "synth", VOICE, "--text", "Good morning.", "--language", "en",
        "-o", str(wav), "--seed", "1", "--json", prefix=prefix,
    )  # fmt: skip
    verified = _xttsreg(root, "offline", "verify", "--no-cache", "--json", prefix=prefix)
    return [
        Row("WAV", f"{wav} ({spoken['seconds']:.1f} s of random noise)"),
        Row("offline store", f"{verified['blobs']} blobs read again, all right"),
    ]  # fmt: skip


def offline_prefix() -> tuple[list[str], str]:
    """The command that cuts the network off for a child, and its name for people.

    Empty where the system does not permit it: the guard of ``train`` and ``synth`` remains.
    """
    for command in (["unshare", "-n"], ["unshare", "-r", "-n"]):
        if shutil.which("unshare"):
            probe = subprocess.run([*command, "true"], capture_output=True, check=False)
            if probe.returncode == 0:
                return command, "network cut with " + " ".join(command)
    return [], "socket guard only; this system does not permit unshare -n"


def _xttsreg(root: Path, home: str, *arguments: str, prefix: Sequence[str] = ()) -> dict[str, Any]:
    output = _python(root, "-m", "xttsreg", *arguments, home=home, prefix=prefix)
    result: dict[str, Any] = json.loads(output)
    return result


def _python(root: Path, *arguments: str, home: str = "online", prefix: Sequence[str] = ()) -> str:
    environ = {**os.environ, "XTTSREG_HOME": str(root / home)}
    command = [*prefix, sys.executable, *arguments]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise XttsregError(
            f"a step failed with exit code {done.returncode}: {' '.join(arguments[:4])}",
            hint=f"its own message is above; everything so far is in {root}",
        )
    return done.stdout


def _megabytes(directory: Path) -> str:
    return f"{sum(path.stat().st_size for path in directory.iterdir()) / 1e6:.0f} MB"
