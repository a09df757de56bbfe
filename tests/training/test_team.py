"""Several processes on one run: real ones, which meet over loopback, on the CPU."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ROOT, clean_environment, filled_store, run_cli, start_cli

from xttsreg.demo.clips import make_dataset
from xttsreg.errors import InvalidInputError
from xttsreg.training.environment import gpu_of
from xttsreg.training.options import TrainOptions

pytestmark = pytest.mark.train
TOGETHER = ["--device", "cpu", "--processes", "2", "--workers", "0", "--no-samples"]


@pytest.fixture(scope="module")
def corpus(scratch):
    make_dataset(scratch / "corpus", clips=13)
    return scratch / "corpus"


def arguments(corpus, *more):
    return [
        "train", "--model", "own:v1", "--dataset", corpus, "--language", "en", "--name", "ann",
        "--batch-size", "2", "--grad-accum", "1", "--eval-split", "1", *TOGETHER, *more,
    ]  # fmt: skip


def processes_of(folder: Path) -> list[int]:
    """Those that work for the run: their output goes into its folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str((entry / "fd" / "1").readlink()).startswith(str(folder)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_for_step(folder: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        path = folder / "metrics.jsonl"
        events = path.read_text().splitlines() if path.is_file() else []
        if any(json.loads(e)["step"] >= step for e in events if '"step"' in e and e[-1] == "}"):
            return
        time.sleep(0.05)
    raise AssertionError("it does not come to that step")


def losses(folder: Path) -> list[float]:
    events = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [event["loss"] for event in events if event["event"] == "step"]


def test_two_train_one_voice(tiny, corpus, tmp_path):
    home, run = tmp_path / "home", tmp_path / "run"
    filled_store(home / "store", tiny, ref="own:v1")
    done = run_cli(arguments(corpus, "--epochs", "2", "--output", run), home, timeout_s=300)
    assert done.code == 0, done.stderr
    assert "2 processes: 4 clips an update" in done.stderr
    # an epoch of 12 clips in batches of 2, shared: each does 3 steps
    assert len(losses(run)) == 6
    assert losses(run) == losses(run / "process-2")  # the mean of both, in both
    proofs = [json.loads((f / "proof.json").read_text()) for f in (run, run / "process-2")]
    assert proofs[0] == proofs[1]
    assert proofs[0]["restored"] == proofs[0]["total"]
    tags = json.loads(run_cli(["ls", "--json"], home).stdout)
    assert sorted(tag["ref"] for tag in tags) == ["ann:v1", "own:v1"]
    assert not list((run / "process-2").glob("*.pth"))
    assert processes_of(run) == []
    alone = tmp_path / "alone"
    single = [a for a in arguments(corpus, "--epochs", "2", "--output", alone, "--name", "eve")]
    single[single.index("--processes") + 1] = "1"
    assert run_cli(single, home, timeout_s=300).code == 0
    assert losses(alone)[0] != losses(run)[0]  # other clips were drawn in the second process


def test_a_killed_run_leaves_nobody_and_goes_on(tiny, corpus, tmp_path):
    home, run = tmp_path / "home", tmp_path / "run"
    filled_store(home / "store", tiny, ref="own:v1")
    more = ["--epochs", "4", "--save-step", "2", "--output", run]
    with start_cli(arguments(corpus, *more), home) as process:
        wait_for_step(run, 3)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while processes_of(run) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(run) == []
    before = losses(run)
    with start_cli(["train", "--resume", run], home) as process:
        wait_for_step(run, 5)
        [other] = processes_of(run)
        os.kill(other, signal.SIGTERM)  # Slurm sends it to every process; the first one decides
        time.sleep(0.5)
        os.kill(other, signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: process 2 of 2 stopped: ended with -9" in said
    assert json.loads((run / "run.json").read_text())["state"] == "failed"
    done = run_cli(["train", "--resume", run], home, timeout_s=300)
    assert done.code == 0, done.stderr
    assert re.search("going on from (checkpoint|best_model)_", done.stderr)
    assert losses(run)[:2] == before[:2]
    assert len(losses(run)) == 12
    assert json.loads((run / "run.json").read_text())["state"] == "finished"


def test_what_another_process_cannot_do_is_told_in_its_words(tiny, corpus, tmp_path):
    home, run = tmp_path / "home", tmp_path / "run"
    filled_store(home / "store", tiny, ref="own:v1")
    (run / "process-2").parent.mkdir()
    code = (
        "import os, sys\n"
        "from xttsreg.training import lead\n"
        "start = lead._start\n"
        "def spoiled(job, *rest):\n"
        "    return start({**job, 'options': {**job['options'], 'language': 'xx'}}, *rest)\n"
        "lead._start = spoiled\n"
        "from xttsreg.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments(corpus, "--output", run))],
        env=clean_environment(home), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "process 2 of 2 stopped: " in done.stderr
    assert "xx" in done.stderr
    assert "ann:v1" not in run_cli(["ls"], home).stdout


# Two processes with a small model and the real optimizer; the second one is told what to do.
MATHS = """
import sys
from types import SimpleNamespace
import torch
from xttsreg.errors import XttsregError
from xttsreg.training import team
rank, port = int(sys.argv[1]), int(sys.argv[2])
from torch.distributed import TCPStore
store = TCPStore("127.0.0.1", port, is_master=rank == 0, wait_for_workers=False)
team.local_only()
team._BUCKET_BYTES = 20
member = team.Member(rank, 2)
member.connect(store)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
unused = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.AdamW([*model.parameters(), unused], lr=0.1)
def step(rank):
    model(torch.tensor([[1.0, 2.0 + rank]])).sum().backward()
step(0); step(1)
wanted = [p.grad / 2 for p in model.parameters()]
optimizer.zero_grad()
step(rank)
trainer = SimpleNamespace(optimizer=optimizer)
member._average(trainer)
got = [p.grad for p in model.parameters()]
assert all(torch.allclose(a, b) for a, b in zip(got, wanted, strict=True))
assert unused.grad is None
optimizer.step()
member.agree(trainer)
assert member._mean({"loss": 1.0 + rank, "step_time": 5}) == {"loss": 1.5, "step_time": 5}
if rank == 1:
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1e-3
try:
    member.agree(trainer)
except XttsregError as error:
    print(error.message)
"""


def test_gradients_are_averaged_and_drift_is_noticed(tmp_path, unused_port):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MATHS, str(rank), str(unused_port)],
            env=clean_environment(tmp_path), cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    for process in started:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert said == "the 2 processes have different weights after the same updates\n"


@pytest.fixture
def unused_port():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize(
    ("shown", "gpus", "expected"),
    [
        ("", "", ["0", "1"]),
        ("", "2,3", ["2", "3"]),
        ("4,6,7", "", ["4", "6"]),
        ("4,6,7", "2,0", ["7", "4"]),
        ("4,6,7", "6,7", ["6", "7"]),
        ("GPU-a,GPU-b", "1,0", ["GPU-b", "GPU-a"]),
    ],
)
def test_numbers_of_gpus(monkeypatch, shown, gpus, expected):
    monkeypatch.setattr("xttsreg.training.environment._SHOWN", shown)
    assert [gpu_of(rank, gpus) for rank in (0, 1)] == expected


def test_a_gpu_that_was_not_shown(monkeypatch):
    monkeypatch.setattr("xttsreg.training.environment._SHOWN", "4,6")
    with pytest.raises(InvalidInputError, match="no GPU 2 among those"):
        gpu_of(0, "2,3")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"gpus": "0,0", "processes": 2}, "names one twice"),
        ({"gpus": "0,", "processes": 2}, "names one twice, or none"),
        ({"gpus": "0,1", "processes": 2, "device": "cpu"}, "--device cpu"),
        ({"processes": 0}, "at least 1"),
    ],
)
def test_slips(more, text):
    with pytest.raises(InvalidInputError, match=text):
        TrainOptions(dataset=Path("x"), **more)


def test_gpus_that_are_not_there(tiny, corpus, tmp_path):
    home = tmp_path / "home"
    filled_store(home / "store", tiny, ref="own:v1")
    done = run_cli([*arguments(corpus)[: -len(TOGETHER)], "--gpus", "8,9"], home)
    assert (done.code, done.error) == (2, "no usable GPU: torch sees none")


def test_a_run_that_never_began_leaves_nothing(tiny, corpus, tmp_path):
    """The weights are found wrong when the other process has its folder already."""
    home, run = tmp_path / "home", tmp_path / "run"
    filled_store(home / "store", tiny, ref="own:v1")
    done = run_cli([*arguments(corpus), "-o", "model_args.gpt_layers=4", "--output", run], home)
    assert done.code == 4
    assert "layers are restored" in done.error
    assert not run.exists()
    assert processes_of(run) == []
