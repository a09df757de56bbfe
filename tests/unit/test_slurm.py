"""What ``--slurm`` takes, and what is read from Slurm's answers."""

from __future__ import annotations

import pytest

from xttsreg.errors import InvalidInputError, StoreError
from xttsreg.training.slurm import keys, pulling
from xttsreg.training.slurm.queue import State, state_of

submitit = pytest.importorskip("submitit", reason="needs xttsreg[slurm]")


def test_commas_belong_to_values_unless_a_key_follows() -> None:
    found = keys.parse(
        ["partition=a,b,mail-type=BEGIN,END,nodelist=n[1-3,5],TIME=1-00", "gpus=2,cpus-per-task=8"]
    )
    assert found == {
        "partition": "a,b",
        "mail_type": "BEGIN,END",
        "nodelist": "n[1-3,5]",
        "time": 1440,
        "cpus_per_task": 8,
        "signal_delay_s": 120,
        "additional_parameters": {"gpus": "2"},
    }


def test_exclusive_is_a_switch_or_has_a_value() -> None:
    assert keys.parse(["time=1,exclusive"])["exclusive"] is True
    assert keys.parse(["exclusive,time=1"])["exclusive"] is True
    assert keys.parse(["exclusive=user,time=1"])["exclusive"] == "user"


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "gpu", "=gpu", "partition", "partition=", "partition= x", "tiem=5", "qos=a,qos=b",
        "comment=a\nrm -rf /", "comment=a\x1b[2J", "setup=rm", "srun-args=x", "output=/etc/passwd",
        "wrap=rm", "array=0-9", "nodes=2", "ntasks=2", "uid=0", "signal=KILL", "chdir=/",
        "additional_parameters=x", "export=NONE", "no-requeue=1", "cpus_per_task=0",
        "cpus_per_task=many", "signal_delay_s=-1", "time=0", "time=soon", "time=", "time=1:2:3:4",
        "time=-5", "time=1-2-3",
    ],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        keys.parse([text, "time=5"] if "time" not in text else [text])
    assert caught.value.message.startswith("--slurm")
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_the_time_limit_is_asked_for() -> None:
    with pytest.raises(InvalidInputError, match="time limit is missing"):
        keys.parse(["partition=gpu"])


def test_submitit_takes_every_key(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 1))
    numbers = dict.fromkeys(("cpus_per_task", "gpus_per_node", "signal_delay_s", "time"), "3")
    given = ",".join(f"{key}={numbers.get(key, '4')}" for key in keys.KEYS)
    submitit.SlurmExecutor(tmp_path).update_parameters(**keys.parse([given]))


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("COMPLETED", "0:0", 0), ("FAILED", "4:0", 4), ("FAILED", "0:9", 137),
        ("CANCELLED", "0:15", 130), ("TIMEOUT", "0:0", 1), ("NODE_FAIL", "0:0", 1),
        ("RUNNING", "0:0", 0), ("PENDING", "0:0", 0), ("COMPLETING", "0:0", 0),
    ],
)  # fmt: skip
def test_the_exit_code_of_a_job(
    monkeypatch, tmp_path, state: str, code: str, expected: int
) -> None:
    program = tmp_path / "scontrol"
    program.write_text(
        f"#!/bin/sh\necho 'JobId=7 JobName=a b=c JobState={state} Reason=Priority Restarts=2 "
        f"ExitCode={code} NodeList=(null) Socks/Node=* ReqB:S:C:T=0:0:*:* StdOut=/a b/c'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = state_of("7")
    reason = "Priority" if state == "PENDING" else ""
    assert found == State(name=state, reason=reason, node="", exit_code=expected, restarts=2)
    assert found.is_over == (state not in ("RUNNING", "PENDING", "COMPLETING"))


def test_a_node_store_of_somebody_else_is_not_used(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(pulling.tempfile, "gettempdir", lambda: str(tmp_path))
    assert pulling.node_store().parent.stat().st_mode & 0o777 == 0o700
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mine = pulling.node_store().parent
    mine.rmdir()
    mine.symlink_to(elsewhere)
    with pytest.raises(StoreError, match="belongs to somebody else"):
        pulling.node_store()
