"""`train --slurm` on a real Slurm: followed, let go, requeued, and registered once."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import clean_environment, command, filled_store, run_cli, start_cli
from support.serving import Served
from support.slurm import Slurm, needs_slurm

from xttsreg.demo.clips import make_dataset
from xttsreg.ops.verify import verify
from xttsreg.stores.layout import LayoutStore

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("tts"), needs_slurm]
pytest.importorskip("submitit", reason="needs xttsreg[slurm]")


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Slurm(root)
    yield cluster
    cluster.stop()
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def where(tiny: Path, scratch: Path) -> Iterator[Path]:
    """A home with the tiny set in its store, and some clips beside it."""
    place = scratch / "slurm"
    (place / "home").mkdir(parents=True)
    filled_store(place / "home" / "store", tiny, ref="tiny:main")
    make_dataset(place / "clips", clips=24)
    yield place
    shutil.rmtree(place)


STOPPING = "stopping after this step, and saving; Ctrl-C again stops at once, unsaved"
_WORKERS = "from xttsreg.training.options import default_workers as d; print(d(), d(processes=2))"


def train(where: Path, name: str, *more: object) -> list[object]:
    options = {"--model": "tiny", "--dataset": where / "clips", "--language": "en", "--name": name}
    quick = {"--batch-size": 2, "--grad-accum": 1, "--eval-split": 2, "--workers": 0}
    pairs = [part for pair in {**options, **quick}.items() for part in pair]
    return ["train", *pairs, "--device", "cpu", "--no-samples", *more]


@contextmanager
def following(args: list[object], home: Path, slurm: Slurm) -> Iterator[subprocess.Popen[str]]:
    process = start_cli(args, home, **slurm.env)
    alarm = threading.Timer(400, process.kill)
    alarm.start()
    try:
        yield process
    finally:
        alarm.cancel()
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], text: str) -> list[str]:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line.rstrip("\n"))
        if text in line:
            return lines
    raise AssertionError(f"{text!r} did not come:\n" + "\n".join(lines))


def test_a_run_that_is_stopped_in_every_way_ends_as_one_voice(where: Path, slurm: Slurm) -> None:
    """Let go of, preempted with a grace time, and with a signal, cancelled, and resumed anew."""
    home = where / "home"
    args = train(where, "me", "--epochs", 5, "--json", "--slurm", "partition=main,time=30")
    with following(args, home, slurm) as process:
        lines = read_until(process, "step 1 ")
        assert "restored: 687 / 687 layers, values compared" in lines
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    [job] = re.findall(r"next:  xttsreg train --follow (\d+), or scancel \1 to end it", err)
    assert (process.returncode, out) == (130, "")
    assert "JobState=RUNNING" in slurm.ask("scontrol", "show", "job", job)

    with following(["train", "--follow", job], home, slurm) as process:
        read_until(process, "step 3 ")
        # Slurm looks every half minute whether a grace time is over: the run must not end before.
        assert slurm.ask("scancel", "--full", "--signal=STOP", job) == ""
        urgent = slurm.batch("sleep 1", "--partition=urgent", "--exclusive")
        lines = read_until(process, "going on from checkpoint_")
        assert any("DUE TO PREEMPTION" in line for line in lines)
        assert STOPPING in lines
        assert slurm.output(urgent) == ""
        read_until(process, "  step ")
        slurm.configure("SlurmctldParameters=preempt_send_user_signal")
        urgent = slurm.batch("sleep 1", "--partition=urgent", "--exclusive")
        lines = read_until(process, "going on from checkpoint_")
        requeued = (
            "slurm: the time is nearly up",
            STOPPING,
            "slurm: the job goes into the queue again",
        )
        at = [lines.index(line) for line in requeued]
        assert at == sorted(at)
        assert slurm.output(urgent) == ""
        read_until(process, "  step ")
        slurm.ask("scancel", job)
        assert process.communicate(timeout=100)[0] == ""
    assert process.returncode == 130

    [run] = (home / "runs").iterdir()
    again = ["train", "--slurm", "time=30", "--resume", run.name, "--json"]
    bad = run_cli([*again, "--lr", "1"], home, **slurm.env)
    assert (bad.code, bad.error) == (2, f"--lr 1.0: the run {run.name} has 5e-06")
    with following(again, home, slurm) as process:
        read_until(process, "going on from checkpoint_")
        done, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    voice = json.loads(done)
    assert voice["voice"] == "me:v1"
    assert [step["step"] for step in voice["run"]["step_losses"]] == list(range(1, 56))
    record = json.loads(Path(voice["run"]["directory"], "run.json").read_text())
    assert len(record["resumed"]) == 3
    store = LayoutStore.open_existing(home / "store")
    assert sorted(store.tags()) == ["me:v1", "tiny:main"]
    assert verify(store, store.entries(), use_cache=False).problems == []
    assert len(list((home / "runs").iterdir())) == 1


def test_clips_are_loaded_by_as_many_processes_as_the_job_has_cores(slurm: Slurm) -> None:
    """The node has two; nothing binds a job to one of them here, as on many clusters."""
    ask = f"{sys.executable} -c '{_WORKERS}'"
    jobs = [slurm.batch(ask), slurm.batch(ask, "--cpus-per-task=2")]
    assert [slurm.output(job) for job in jobs] == ["1 1", "2 1"]


def test_a_job_pulls_its_model_and_ends_with_its_own_code_and_message(
    where: Path, slurm: Slurm
) -> None:
    """Whoever submits has no model; the node brings it, is out of time once, and has no GPU."""
    home, env = where / "bare", {**slurm.env, "TMPDIR": str(where / "node")}
    (where / "node").mkdir()
    args = train(where, "other", "--device", "auto", "--gpus", "0,1", "--json")
    args += ["--slurm", "time=30", "--slurm", "comment=a,b", "--detach"]
    args += ["--output", where / "an output"]
    with Served(where / "home", "--no-warm") as served:
        absent = run_cli([*args, "--pull", f"{served.host}/tiny:v9"], home, **env)
        sent = run_cli([*args, "--pull", f"{served.host}/tiny"], home, timeout_s=200, **env)
        assert (absent.code, sent.code) == (3, 0), sent.stderr
        told = json.loads(sent.stdout)
        assert told["run"] == str(where / "an output")
        with following(["train", "--follow", told["job"]], home, slurm) as process:
            lines = read_until(process, " brought, 0 B there already")
            slurm.ask("scancel", "--batch", "--signal=USR2", told["job"])  # as near the time limit
            data, rest = process.communicate(timeout=300)
    lines += rest.splitlines()
    assert (process.returncode, data) == (2, "")
    assert "slurm: the job goes into the queue again" in lines
    assert any(" brought, " in line and " there already" in line for line in rest.splitlines())
    assert any(line.startswith("weights: tiny:main, checked, by ") for line in lines)
    assert "error: no usable GPU: torch sees none" in lines
    assert lines[-1] == f"job {told['job']}: FAILED, exit code 2"
    assert not (home / "store").exists()
    [node] = (where / "node").glob("xttsreg-*/store")
    assert list(LayoutStore.open_existing(node).tags()) == ["tiny:main"]


def test_what_is_wrong_is_said_before_anything_is_submitted(where: Path, slurm: Slurm) -> None:
    home, env = where / "home", slurm.env
    before = slurm.ask("scontrol", "show", "job")
    bad = run_cli(train(where, "x", "--slurm", "time=5,partition=nope"), home, **env)
    assert bad.code == 2
    assert "invalid partition specified: nope" in bad.error
    bad = run_cli(train(where, "tiny:main", "--slurm", "time=5"), home, **env)
    assert (bad.code, bad.error) == (2, "tiny:main: exists already")
    bad = run_cli(train(where, "x", "--slurm", "time=5", "--language", "xx"), home, **env)
    assert (bad.code, bad.error) == (2, "the weight set does not support the language 'xx'")
    bad = run_cli(train(where, "x", "--slurm", "tiem=5"), home, **env)
    assert (bad.code, bad.hint) == (2, "did you mean time?")
    bad = run_cli(["train", "--follow", "9999"], home, **env)
    assert bad.code == 3
    for more in (["--detach"], ["--epochs", "3"], ["--slurm", "time=5"], ["--json"]):
        bad = run_cli(["train", "--follow", "9999", *more], home, **env)
        assert bad.code == 2
        assert f"--follow shows a job as it is: leave {more[0]} out" in bad.stderr
    assert slurm.ask("scontrol", "show", "job") == before
    assert not (home / "slurm").exists() or not list((home / "slurm").glob("x-*"))


def test_without_slurm_here(where: Path) -> None:
    args = train(where, "x", "--slurm", "time=5")
    done = subprocess.run(
        command(*args), env=clean_environment(where / "home", PATH="/nonexistent"),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    error, hint = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (8, "")
    assert error == "error: --slurm needs sbatch, scontrol, srun, not to be found here"
    assert hint.startswith("next:  submit from a login node")
