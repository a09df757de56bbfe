"""Going on with a run: the same steps to the last digit; and what is no run."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support import ROOT, clean_environment, filled_store, mounted, run_cli, start_cli

from xttsreg.demo.clips import make_dataset
from xttsreg.errors import InsufficientSpace, InvalidDataset, StoreError
from xttsreg.training.checkpoint import load_checked
from xttsreg.training.result import RunResult
from xttsreg.training.run import train
from xttsreg.training.saving import BEST_NAME, checkpoints, write_checkpoint

from .conftest import quick

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("tts")]
# Seven clips to train in batches of two: the last batch of an epoch is a small one, and the
# accumulation does not end at every checkpoint that could be asked for.
OPTIONS = {"epochs": 2, "grad_accum": 2, "save_step": 2, "eval_split": 2}


@pytest.fixture(scope="module")
def nine(scratch):
    make_dataset(scratch / "nine", clips=9)
    return scratch / "nine"


@pytest.fixture(scope="module")
def uninterrupted(tiny, nine, scratch):
    directory = scratch / "uninterrupted"
    yield losses(train(tiny, quick(nine, **OPTIONS), directory))
    shutil.rmtree(directory)


@pytest.fixture
def output(scratch):
    yield scratch / "stopped"
    shutil.rmtree(scratch / "stopped", ignore_errors=True)


def losses(result: RunResult) -> list[tuple[object, ...]]:
    steps = [(s.step, s.epoch, s.loss, s.loss_text_ce, s.lr) for s in result.step_losses]
    return [*steps, *((e.step, e.epoch, e.loss, e.clips) for e in result.eval_losses)]


def stop_at(kind: str, step: int):
    def listen(event):
        if event["event"] == kind and event["step"] == step:
            raise KeyboardInterrupt

    return listen


def go_on(tiny, options, output):
    events = []
    result = train(tiny, options, output, resume=True, on_event=events.append)
    [resumed] = [event for event in events if event["event"] == "resumed"]
    return result, resumed


@pytest.mark.parametrize(
    ("kind", "step", "epoch"),
    [
        pytest.param("step", 1, 1, id="between two updates"),
        pytest.param("eval", 4, 1, id="in the evaluation"),
        pytest.param("step", 6, 2, id="in the second epoch"),
    ],
)
def test_the_steps_are_those_of_an_uninterrupted_run(
    tiny, nine, uninterrupted, output, kind, step, epoch
):
    options = quick(nine, **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, options, output, on_event=stop_at(kind, step))
    result, resumed = go_on(tiny, options, output)
    assert losses(result) == uninterrupted
    assert (resumed["step"], resumed["epoch"]) == (step, epoch)
    record = json.loads((output / "run.json").read_text())
    assert record["state"] == "finished"
    assert len(record["resumed"]) == 1
    assert (output / BEST_NAME).samefile(output / "best_model_8.pth")
    assert len(checkpoints(output)) == 2  # the best, and the newest one


def test_with_processes_that_load_clips(tiny, nine, output, tmp_path):
    options = quick(nine, **{**OPTIONS, "epochs": 1, "workers": 2})
    expected = losses(train(tiny, options, tmp_path / "whole"))
    shutil.rmtree(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tiny, options, output, on_event=stop_at("step", 3))
    assert losses(go_on(tiny, options, output)[0]) == expected


def test_a_best_model_that_was_not_written_whole_is_made_again(
    tiny, nine, uninterrupted, output, monkeypatch
):
    from xttsreg.training import keeper

    def cut(state, path):
        if "best_model" in str(path):
            raise KeyboardInterrupt
        write_checkpoint(state, path)

    options = quick(nine, **OPTIONS)
    with monkeypatch.context() as patch:
        patch.setattr(keeper, "write_checkpoint", cut)
        with pytest.raises(KeyboardInterrupt):
            train(tiny, options, output)
    result, resumed = go_on(tiny, options, output)
    assert resumed["epoch"] == 1
    assert losses(result) == uninterrupted
    assert (output / BEST_NAME).samefile(output / "best_model_8.pth")


def test_damaged_checkpoints_are_left_out(tiny, nine, uninterrupted, output):
    options = quick(nine, **OPTIONS, keep=3)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, options, output, on_event=stop_at("step", 7))
    names = [path.name for path in checkpoints(output)]
    assert names == [f"{name}.pth" for name in ("checkpoint_7", "checkpoint_6", "best_model_4",
                                                "checkpoint_4")]  # fmt: skip
    os.truncate(output / "checkpoint_7.pth", 1_000_000)
    with (output / "checkpoint_6.pth").open("r+b") as file:
        file.seek(100_000_000)
        file.write(bytes(4096))
    (output / ".checkpoint_8.pth.partial").touch()
    result, resumed = go_on(tiny, options, output)
    assert losses(result) == uninterrupted
    assert resumed["checkpoint"] == "best_model_4.pth"
    assert [line.split()[0] for line in resumed["skipped"]] == names[:2]
    assert (output / "checkpoint_7.pth.unusable").is_file()
    assert not (output / ".checkpoint_8.pth.partial").exists()


def test_a_run_without_checkpoint_begins_anew(tiny, nine, uninterrupted, output):
    options = quick(nine, **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, options, output, on_event=stop_at("eval", 0))
    assert checkpoints(output) == []
    result, resumed = go_on(tiny, options, output)
    assert resumed["checkpoint"] == ""
    assert losses(result) == uninterrupted


def test_another_dataset_is_refused(tiny, nine, clips, output):
    options = quick(nine, **{**OPTIONS, "epochs": 1, "batch_size": 1, "grad_accum": 1})
    with pytest.raises(KeyboardInterrupt):
        train(tiny, options, output, on_event=stop_at("step", 5))
    fewer = quick(clips, **{**OPTIONS, "epochs": 1, "batch_size": 1, "grad_accum": 1})
    with pytest.raises(InvalidDataset, match="5 batches of an epoch that now has 4"):
        train(tiny, fewer, output, resume=True)
    assert (output / "checkpoint_5.pth").is_file()


def test_a_signal_waits_for_the_end_of_the_step(tiny, nine, uninterrupted, output):
    options = quick(nine, **OPTIONS)
    events = []

    def listen(event):
        events.append(event["event"])
        if event["event"] == "step" and event["step"] == 3:
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, options, output, on_event=listen)
    assert signal.getsignal(signal.SIGINT) is before
    assert events[-2:] == ["stopping", "step"]
    assert losses(go_on(tiny, options, output)[0]) == uninterrupted


def test_a_full_disk_leaves_the_last_checkpoint(tiny, nine, tmp_path):
    options = quick(nine, epochs=1, eval_split=0, save_step=1)
    place = tmp_path / "small"
    with mounted(place, "-t", "tmpfs", "-o", "size=500m", "tmpfs"):
        output = place / "run"
        with pytest.raises(InsufficientSpace) as caught:
            train(tiny, options, output)
        assert caught.value.needed_bytes > caught.value.free_bytes > 0
        assert "--resume" in caught.value.hint
        assert [path.name for path in checkpoints(output)] == ["checkpoint_1.pth"]
        assert load_checked(output / "checkpoint_1.pth")["step"] == 1
        assert not list(output.glob(".*.partial"))
        assert json.loads((output / "run.json").read_text())["state"] == "failed"
        subprocess.run(["mount", "-o", "remount,size=1500m", str(place)], check=True)
        result, resumed = go_on(tiny, options, output)
        assert resumed["step"] == 1
        assert [loss.step for loss in result.step_losses] == [1, 2, 3, 4, 5]


def test_a_write_that_fails_halfway_leaves_what_was_there(tmp_path):
    import torch

    path = tmp_path / "checkpoint_1.pth"
    write_checkpoint({"a": torch.ones(10)}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(StoreError, match="ulimit -f"):
            write_checkpoint({"a": torch.ones(10_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint_1.pth"]
    assert load_checked(path)["a"].equal(torch.ones(10))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_at_the_command_line(tiny, nine, uninterrupted, tmp_path, number):
    home = tmp_path / "home"
    store = filled_store(home / "store", tiny, ref="own:v1")
    before = store.tags()
    arguments = ["train", "--model", "own:v1", "--dataset", nine, "--language", "en",
                 "--name", "ann", "--epochs", 2, "--batch-size", 2, "--grad-accum", 2,
                 "--lr", 1e-3, "--eval-split", 2, "--save-step", 2, "--workers", 0,
                 "--device", "cpu"]  # fmt: skip
    with start_cli(arguments, home) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "step 5" in line:
                break
        process.send_signal(number)
        rest = process.stderr.read()
    [row] = json.loads(run_cli(["runs", "--json"], home).stdout)
    killed = number == signal.SIGKILL
    assert process.returncode == (-9 if killed else 130)
    assert row["state"] == ("killed" if killed else "interrupted")
    assert ("stopping after this step" in rest) is not killed
    assert store.tags() == before
    refused = run_cli(["train", "--resume", row["name"], "--lr", 5e-4], home)
    assert (refused.code, "--lr" in refused.error) == (2, True)
    done = run_cli(["train", "--resume", row["name"], "--json"], home, timeout_s=200)
    assert done.code == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    steps = [(s["step"], s["epoch"], s["loss"], s["loss_text_ce"], s["lr"])
             for s in run["step_losses"]]  # fmt: skip
    assert steps == uninterrupted[: len(steps)]
    assert not (Path(row["directory"]) / "view").exists()
    [row] = json.loads(run_cli(["runs", "--json"], home).stdout)
    assert (row["state"], row["voice"], row["registered"]) == ("finished", "ann:v1", True)
    complete = run_cli(["train", "--resume", row["name"]], home)
    assert (complete.code, "complete" in complete.error) == (2, True)
    shutil.rmtree(row["directory"])


@pytest.mark.parametrize("name", [".", "model.pth"])
def test_an_inference_checkpoint_is_refused_at_the_command_line(tiny, home, name):
    done = run_cli(["train", "--resume", tiny / name], home)
    assert done.code == 2
    told = [line for line in done.stderr.splitlines() if not line.startswith("network: ")]
    assert len(told) == 2
    assert "0 / N layers are restored" in done.error
    assert "KeyError 'step'" in done.error
    assert "xttsreg train --model" in done.hint


def test_no_such_run(home):
    done = run_cli(["train", "--resume", "nothing"], home)
    assert (done.code, done.error) == (2, "nothing: no such run")


# One process imports TTS and forks for each stage, which kills itself where it hurts; the last one
# comes to the end and tells what it got.
DRIVER = """
import json, os, signal, sys
from pathlib import Path
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer
from xttsreg.catalog import Catalog
from xttsreg.content.reference import Reference
from xttsreg.stores.layout import LayoutStore
from xttsreg.training import finetune, register, saving
from xttsreg.training.options import TrainOptions
from xttsreg.training.request import Request

home, options = Path(sys.argv[1]), json.loads(sys.argv[2])
store = LayoutStore.open_existing(home / "store")

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def die_with_a_second_checkpoint(stream):
    stream._file.flush()
    if (home / "run" / "checkpoint_2.pth").exists():
        die()

def die_before_the_note(directory, record, write=register.runs.write_record):
    die() if "registered" in record else write(directory, record)

PLACES = {
    "save": (saving._Stream, "finish", die_with_a_second_checkpoint),
    "evaluation": (GPTTrainer, "eval_step", die),
    "registration": (LayoutStore, "tag", die),
    "note": (register.runs, "write_record", die_before_the_note),
}

def stage(name):
    if name in PLACES:
        setattr(*PLACES[name])
    if name == "save":
        made = TrainOptions(**{**options, "dataset": Path(options["dataset"])})
        request = Request(model=Reference.parse("own:v1"), voice=Reference.parse("ann:v1"),
                          options=made, output=home / "run", samples=False)
        return finetune.finetune(store, Catalog([]), request, ask=None)
    return finetune.resume(store, Catalog([]), home / "run", {}, ask=None)

for name in [*PLACES, "end"]:
    child = os.fork()
    if child == 0:
        try:
            print(json.dumps(stage(name).as_dict()), flush=True)
            os._exit(0)
        finally:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_killed_while_it_saves_evaluates_and_registers(tiny, nine, uninterrupted, tmp_path):
    home = tmp_path / "home"
    store = filled_store(home / "store", tiny, ref="own:v1")
    chosen = quick(nine, **OPTIONS).as_dict()
    arguments = [sys.executable, "-c", DRIVER, home, json.dumps(chosen, default=str)]
    done = subprocess.run(
        arguments,
        env=clean_environment(home),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    *stages, result, end = done.stdout.splitlines()
    assert stages == ["save -9", "evaluation -9", "registration -9", "note -9"], done.stderr
    assert end == "end 0"
    run = json.loads(result)["run"]
    steps = [(s["step"], s["epoch"], s["loss"], s["loss_text_ce"], s["lr"])
             for s in run["step_losses"]]  # fmt: skip
    assert steps == uninterrupted[: len(steps)]
    assert set(store.tags()) == {"own:v1", "ann:v1"}  # and no second one of the same run
    assert not list((home / "run").glob(".*partial"))
    assert not (home / "run" / "view").exists()
    shutil.rmtree(home)
