"""The list of runs: states, tails, links; and the files of checkpoints. No torch is needed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, run_cli

from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidInputError, InvalidModel, StoreLocked
from xttsreg.training.options import TrainOptions
from xttsreg.training.resume import find_run, read_options
from xttsreg.training.runs import list_elsewhere, list_runs, read_run, run_lock, write_record
from xttsreg.training.saving import BEST_NAME, checkpoints, keep_newest, set_aside, share

STEP = {"event": "step", "step": 7, "epoch": 2, "loss": 3.5}
EVAL = {"event": "eval", "step": 6, "epoch": 1, "loss": 4.5}


@pytest.fixture
def runs_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XTTSREG_HOME", str(home))
    return home / "runs"


def make_run(directory: Path, **record: object) -> Path:
    directory.mkdir(parents=True)
    options = TrainOptions(dataset=Path("/data/clips"), epochs=3).as_dict()
    origin = {"model": f"xtts_v2:main@sha256:{'0' * 64}", "voice": "ann:v1", "dataset": "x"}
    content = {"state": "finished", "started": "2026-01-01", "options": options, "origin": origin}
    write_record(directory, {**content, **record})
    lines = [json.dumps(event) for event in (EVAL, STEP)]
    (directory / "metrics.jsonl").write_text("\n".join([*lines, '{"event": "step", "st']))
    return directory


def test_a_run_tells_how_far_it_came(runs_home: Path, home: Path) -> None:
    make_run(runs_home / "ann", registered="ann:v1")
    (runs_home / "ann" / "checkpoint_6.pth").touch()
    (runs_home / "no-run").mkdir()
    done = run_cli(["runs", "--json"], home)
    [row] = json.loads(done.stdout)
    assert row["step"] == 7
    assert row["loss"] == 3.5
    assert row["eval_loss"] == 4.5
    assert row["state"] == "finished"
    assert row["registered"]
    assert row["voice"] == "ann:v1"
    assert row["checkpoints"] == ["checkpoint_6.pth"]
    assert Path(row["directory"]) == runs_home / "ann"
    table = run_cli(["runs"], home).stdout.splitlines()
    assert table[0].split()[:2] == ["RUN", "STATE"]
    assert table[1].split()[:6] == ["ann", "finished", "2", "7", "3.5000", "4.5000"]
    assert "not registered" not in table[1]


def test_a_finished_run_without_its_voice_says_so(runs_home: Path, home: Path) -> None:
    make_run(runs_home / "ann")
    [row] = run_cli(["runs"], home).stdout.splitlines()[1:]
    assert "ann:v1 (not registered)" in row


def test_without_runs_the_list_is_empty(home: Path) -> None:
    assert json.loads(run_cli(["runs", "--json"], home).stdout) == []


def test_a_process_that_is_gone_is_called_killed(runs_home: Path) -> None:
    directory = make_run(runs_home / "ann", state="running")
    code = (
        "import sys, time; from pathlib import Path; from xttsreg.training.runs import run_lock\n"
        "with run_lock(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(directory)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        assert read_run(directory).state == "running"
        with pytest.raises(StoreLocked), run_lock(directory, wait_s=0):
            pass
        os.kill(process.pid, signal.SIGKILL)
    assert read_run(directory).state == "killed"


def test_of_another_machine_its_own_word_is_taken(runs_home: Path) -> None:
    directory = make_run(runs_home / "ann", state="running")
    record = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps({**record, "host": "elsewhere"}))
    assert read_run(directory).state == "running"


def test_runs_elsewhere_are_listed_and_found(runs_home: Path, tmp_path: Path) -> None:
    directory = make_run(tmp_path / "mine")
    for _ in range(2):
        list_elsewhere(Reference.parse("ann:v1"), directory)
    [run] = list_runs()
    assert run.directory == directory
    [link] = runs_home.iterdir()
    assert find_run(link.name) == directory
    (directory / "run.json").unlink()
    assert list_runs() == []


def test_what_is_no_run(runs_home: Path, tmp_path: Path) -> None:
    for text in ("nothing", str(tmp_path)):
        with pytest.raises(InvalidModel, match="no .*run"):
            find_run(text)
    broken = make_run(runs_home / "broken")
    (broken / "run.json").write_text("{")
    with pytest.raises(InvalidModel, match="not readable"):
        read_run(broken)


def test_options_come_from_the_run(runs_home: Path) -> None:
    run = read_run(make_run(runs_home / "ann"))
    again = {"model": "xtts_v2:main", "name": "ann:v1", "dataset": Path("/data/clips")}
    assert read_options(run, {}) == TrainOptions(dataset=Path("/data/clips"), epochs=3)
    assert read_options(run, {**again, "epochs": 5, "keep": 2}).epochs == 5


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        ({"lr": 1.0}, "--lr"),
        ({"model": "xtts_v2:other"}, "--model"),
        ({"name": "ben:v1"}, "--name"),
        ({"dataset": Path("/data/others")}, "--dataset"),
        ({"batch_size": 7}, "--batch-size"),
        ({"overrides": {"grad_clip": "1.0"}}, "-o"),
        ({"output": Path("/elsewhere")}, "--output"),
        ({"epochs": 2}, "--epochs"),
    ],
)
def test_options_that_contradict_are_named(
    runs_home: Path, given: dict[str, object], flag: str
) -> None:
    with pytest.raises(InvalidInputError, match=flag) as caught:
        read_options(read_run(make_run(runs_home / "ann")), given)
    assert caught.value.hint


def test_the_furthest_checkpoint_comes_first(tmp_path: Path) -> None:
    names = ["checkpoint_9.pth", "checkpoint_10.pth", "best_model_10.pth", "best_model_2.pth"]
    others = ["best_model.pth", ".checkpoint_11.pth.partial", "checkpoint_12.pth.unusable"]
    for name in names + others:
        (tmp_path / name).touch()
    found = [path.name for path in checkpoints(tmp_path)]
    assert found == ["best_model_10.pth", "checkpoint_10.pth", "checkpoint_9.pth", names[-1]]
    keep_newest(tmp_path, "checkpoint", 1)
    found = [path.name for path in checkpoints(tmp_path)]
    assert found == ["best_model_10.pth", "checkpoint_10.pth", "best_model_2.pth"]


def test_two_names_share_their_bytes(tmp_path: Path) -> None:
    for number in (1, 2):
        path = tmp_path / f"best_model_{number}.pth"
        path.write_bytes(bytes([number]) * 1000)
        share(path, BEST_NAME)
        assert (tmp_path / BEST_NAME).samefile(path)
    assert (tmp_path / "best_model_1.pth").read_bytes() == b"\1" * 1000


def test_what_is_set_aside_counts_no_more(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"best_model_{number}.pth").write_bytes(bytes([number]))
    share(tmp_path / "best_model_2.pth", BEST_NAME)
    (tmp_path / ".checkpoint_3.pth.partial").touch()
    set_aside(tmp_path, [tmp_path / "best_model_2.pth"])
    assert [path.name for path in checkpoints(tmp_path)] == ["best_model_1.pth"]
    assert (tmp_path / BEST_NAME).read_bytes() == b"\1"
    set_aside(tmp_path, [tmp_path / "best_model_1.pth"])
    assert not (tmp_path / BEST_NAME).exists()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"best_model_1.pth.unusable", "best_model_2.pth.unusable"}
