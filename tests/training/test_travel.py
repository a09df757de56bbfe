"""A run goes to another machine, and on there as if nothing had happened."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from support import filled_store, never_ask, run_cli, tree
from support.ssh import allow, make_key

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import BASE, DATASET
from xttsreg.content.reference import Reference
from xttsreg.demo.clips import make_dataset
from xttsreg.errors import InvalidModel
from xttsreg.ops.datasets import add_dataset, describe_dataset
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore
from xttsreg.training.finetune import finetune
from xttsreg.training.request import Request
from xttsreg.training.run_artifact import add_run

from .conftest import quick

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("tts")]
NONE = Catalog([])
RUN = Reference.parse("runs/ann:v1")


@pytest.fixture(scope="module")
def nine(scratch):
    make_dataset(scratch / "travel-clips", clips=9)
    return scratch / "travel-clips"


def stop_at(step):
    def listen(event):
        if event["event"] == "step" and event["step"] == step:
            raise KeyboardInterrupt

    return listen


def test_to_another_machine(tiny, nine, scratch, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    store = filled_store(here / "store", tiny, ref="tiny:main")
    shutil.copytree(nine, here / "clips")
    request = Request(
        model=Reference.parse("tiny:main"),
        voice=Reference.parse("ann:v1"),
        options=quick(here / "clips", epochs=2, grad_accum=2, save_step=2, eval_split=2),
        output=here / "whole",
        speaker_wav=here / "clips" / "reference.wav",
        samples=False,
    )
    whole = finetune(store, NONE, request, ask=never_ask)
    shutil.rmtree(here / "whole")
    store.untag("ann:v1")
    run = here / "run"
    stopped = replace(request, output=run)
    with pytest.raises(KeyboardInterrupt):
        finetune(store, NONE, stopped, ask=never_ask, on_event=stop_at(7))
    with pytest.raises(InvalidModel, match="no run of xttsreg"):
        add_run(store, RUN, here / "clips", NONE)
    add_dataset(store, Reference.parse("corpus:v1"), here / "clips", NONE)

    added = run_cli(["add", str(RUN), run, "--run", "--json"], here)
    assert added.code == 0, added.stderr
    value = json.loads(added.stdout)
    assert value["kind"] == "run"
    assert {"run.json", "checkpoint_7.pth", "best_model_4.pth", "metrics.jsonl", "speaker.wav"} <= {
        *value["files"]
    }
    assert "checkpoint_6.pth" not in value["files"]
    record = json.loads(store.blob_path(_layer(store, "run.json").digest).read_bytes())
    assert record["state"] == "interrupted"
    assert not {"pid", "host"} & set(record)
    notes = read_manifest(store, store.tags()[str(RUN)]).annotations
    assert notes[BASE] == f"tiny:main@{store.tags()['tiny:main'].digest}"
    assert notes[DATASET] == describe_dataset(nine).describe().digest
    again = run_cli(["add", str(RUN), run, "--run"], here)
    assert again.stdout.strip() == f"{RUN}@{value['digest']}"

    stick = tmp_path / "stick"
    sign, trust = _keys(tmp_path)
    assert run_cli(["bundle", "tiny:main", "corpus:v1", "-o", stick / "1", *sign], here).code == 0
    assert run_cli(["bundle", RUN, "--thin", "-o", stick / "2", *sign], here).code == 0
    shutil.rmtree(here)  # whatever went along did so on the stick
    for name in ("1", "2"):
        taken = run_cli(["import", stick / name, *trust], there)
        assert taken.code == 0, taken.stderr
        assert ("signed by site@lab" if sign else "not signed") in taken.stderr
    shutil.rmtree(stick)
    assert run_cli(["tag", "tiny:main", "renamed:main"], there).code == 0
    assert run_cli(["rm", "tiny:main"], there).code == 0
    kinds = {row["ref"]: row["kind"] for row in json.loads(run_cli(["ls", "--json"], there).stdout)}
    assert kinds == {"corpus:v1": "dataset", "renamed:main": "weights", "runs/ann:v1": "run"}
    for verb in (["train", "--model", RUN, "--dataset", "corpus:v1", "--language", "en",
                  "--name", "x"], ["export", RUN, tmp_path / "x"]):  # fmt: skip
        refused = run_cli(verb, there)
        assert (refused.code, "is a training run, and" in refused.error) == (2, True)
    linked = run_cli(["checkout", RUN, there / "run", "--hardlink"], there)
    assert (linked.code, "would be written to" in linked.error) == (2, True)
    out = run_cli(["checkout", RUN, there / "run"], there)
    assert (out.code, "xttsreg train --resume" in out.stderr) == (0, True)
    store = LayoutStore.open_existing(there / "store")
    blobs = tree(store.root / "blobs")
    done = run_cli(["train", "--resume", there / "run", "--json"], there, timeout_s=200)
    assert done.code == 0, done.stderr
    result = json.loads(done.stdout)["run"]
    steps = [(s["step"], s["epoch"], s["loss"], s["lr"]) for s in result["step_losses"]]
    assert steps == [(s.step, s.epoch, s.loss, s.lr) for s in whole.run.step_losses]
    evaluations = [(e["step"], e["loss"]) for e in result["eval_losses"]]
    assert evaluations == [(e.step, e.loss) for e in whole.run.eval_losses]
    assert blobs.items() <= tree(store.root / "blobs").items()
    voice = read_manifest(store, store.tags()["ann:v1"])
    assert "reference.wav" in voice.files()
    assert voice.annotations[DATASET] == notes[DATASET]
    [row] = json.loads(run_cli(["runs", "--json"], there).stdout)
    assert (row["state"], row["registered"]) == ("finished", True)
    finished = run_cli(["add", "runs/ann:done", there / "run", "--run"], there)
    assert finished.code == 0, finished.stderr
    shutil.rmtree(there)


def test_what_cannot_be_taken(tiny, clips, tmp_path):
    store = filled_store(tmp_path / "store", tiny, ref="tiny:main")
    request = Request(
        model=Reference.parse("tiny:main"), voice=Reference.parse("ann:v1"),
        options=quick(clips, save_step=1, keep=2, eval_split=0), output=tmp_path / "run",
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        finetune(store, NONE, request, ask=never_ask, on_event=stop_at(2))
    last = tmp_path / "run" / "checkpoint_2.pth"
    last.write_bytes(last.read_bytes()[:1_000_000])
    done = add_run(store, RUN, tmp_path / "run", NONE)
    assert list(done.left) == ["checkpoint_2.pth"]
    assert "checkpoint_1.pth" in done.files
    assert "checkpoint_2.pth" not in done.files
    (tmp_path / "run" / "checkpoint_1.pth").unlink()
    with pytest.raises(InvalidModel, match="no checkpoint yet"):
        add_run(store, Reference.parse("runs/ann:v2"), tmp_path / "run", NONE)
    shutil.rmtree(tmp_path / "run")
    shutil.rmtree(store.root)


def _keys(directory):
    """Options for `bundle` and `import`; none where nothing can be signed."""
    if not shutil.which("ssh-keygen"):
        return [], []
    key = make_key(directory, "site")
    return ["--sign", key], ["--trust", allow(directory / "allowed", site=key)]


def _layer(store, path):
    return read_manifest(store, store.tags()[str(RUN)]).files()[path]
