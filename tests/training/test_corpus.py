"""Training on a dataset of the store: the same as on its folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support import filled_store, never_ask, run_cli

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import DATASET
from xttsreg.content.reference import Reference
from xttsreg.demo.clips import make_dataset
from xttsreg.errors import InvalidDataset
from xttsreg.ops.datasets import add_dataset, describe_dataset
from xttsreg.ops.verify import verify
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore
from xttsreg.training.finetune import finetune, resume
from xttsreg.training.request import Request, Voice
from xttsreg.training.run import DATASET_NAME

from .conftest import quick

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("tts")]
NONE = Catalog([])
CORPUS = Reference.parse("corpus:v1")


@pytest.fixture(scope="module")
def nine(scratch):
    make_dataset(scratch / "nine-clips", clips=9)
    return scratch / "nine-clips"


@pytest.fixture(scope="module")
def store(tiny, nine, scratch):
    store = filled_store(scratch / "corpus-store", tiny, ref="tiny:main")
    add_dataset(store, CORPUS, nine, NONE)
    return store


@pytest.fixture
def output(scratch):
    yield scratch / "corpus-run"
    shutil.rmtree(scratch / "corpus-run", ignore_errors=True)


def request(nine: Path, output: Path, voice: str) -> Request:
    return Request(
        model=Reference.parse("tiny:main"),
        voice=Reference.parse(voice),
        options=quick(nine, grad_accum=2, save_step=2, eval_split=2),
        output=output,
    )


def losses(voice: Voice) -> list[object]:
    told = [*voice.run.step_losses, *voice.run.eval_losses]
    return [(each.step, each.epoch, each.loss, each.loss_text_ce) for each in told]


@pytest.fixture(scope="module")
def from_folder(store: LayoutStore, nine: Path, scratch: Path) -> Voice:
    """A voice that was trained from the folder, in one go."""
    voice = finetune(store, NONE, request(nine, scratch / "whole", "folder:v1"), ask=never_ask)
    shutil.rmtree(scratch / "whole")
    return voice


def lineage_of(store: LayoutStore, voice: Voice) -> str:
    return read_manifest(store, voice.manifest).annotations[DATASET]


def stop(event):
    if event["event"] == "step" and event["step"] == 3:
        raise KeyboardInterrupt


def stop_at_once(event):
    if event["event"] == "resumed":
        raise KeyboardInterrupt


def test_interrupted_and_gone_on_with(store, nine, from_folder, output):
    wanted = replace(request(Path("nowhere"), output, "ref:v1"), dataset=CORPUS)
    with pytest.raises(KeyboardInterrupt):
        finetune(store, NONE, wanted, ask=never_ask, on_event=stop)
    assert not (output / DATASET_NAME).exists()
    record = json.loads((output / "run.json").read_text())
    digest = describe_dataset(nine).describe().digest
    assert record["origin"]["dataset_ref"] == f"corpus:v1@{digest}"
    # what a killed process would leave
    (output / DATASET_NAME).mkdir()
    voice = resume(store, NONE, output, {}, ask=never_ask)
    assert losses(voice) == losses(from_folder)
    assert lineage_of(store, voice) == lineage_of(store, from_folder) == digest
    assert not (output / DATASET_NAME).exists()
    assert verify(store, store.entries()).problems == []


def test_a_run_finds_its_dataset_wherever_it_is_by_now(store, nine, from_folder, output, scratch):
    moved, other = scratch / "moved", scratch / "other-clips"
    shutil.copytree(nine, moved)
    with pytest.raises(KeyboardInterrupt):
        finetune(store, NONE, request(moved, output, "moved:v1"), ask=never_ask, on_event=stop)
    shutil.copytree(moved, other)
    moved.rename(scratch / "moved-away")
    (other / "more.txt").write_text("x")
    with pytest.raises(InvalidDataset, match="is not the dataset that the run began with"):
        resume(store, NONE, output, {"dataset": other}, ask=never_ask)
    store.untag("corpus:v1")
    with pytest.raises(InvalidDataset, match="and the store has no dataset"):
        resume(store, NONE, output, {}, ask=never_ask)
    given = {"dataset": scratch / "moved-away"}
    with pytest.raises(KeyboardInterrupt):
        resume(store, NONE, output, given, ask=never_ask, on_event=stop_at_once)
    add_dataset(store, CORPUS, nine, NONE)
    shutil.rmtree(scratch / "moved-away")
    voice = resume(store, NONE, output, {}, ask=never_ask)
    assert losses(voice) == losses(from_folder)


def test_at_the_command_line(store, nine, tmp_path):
    home, here = tmp_path / "home", tmp_path / "here"
    place = ["--store", store.root]
    (here / "corpus:v1").mkdir(parents=True)
    plan = ["--model", "tiny:main", "--language", "en", "--batch-size", 2, "--device", "cpu"]
    both = run_cli(["doctor", *plan, "--dataset", "corpus:v1", *place], home, cwd=here)
    assert both.code == 2
    assert "is a directory here, and a dataset in the store" in both.stdout
    train = ["train", *plan, "--name", "x", "--epochs", 1, "--workers", 0]
    refused = run_cli([*train, "--dataset", "corpus:v1", *place], home, cwd=here)
    assert (refused.code, "is a directory here, and" in refused.error) == (2, True)
    (here / "corpus:v1").rmdir()
    checked = run_cli(["doctor", *plan, "--dataset", "corpus:v1", *place, "--json"], home, cwd=here)
    checks = {check["name"]: check for check in json.loads(checked.stdout)["checks"]}
    assert checks["dataset"]["level"] == "ok"
    assert checks["clips"]["message"].startswith("9 open")
    no_data = run_cli([*train, "--dataset", "tiny:main", *place], home, cwd=here)
    assert (no_data.code, "a dataset is needed here" in no_data.error) == (2, True)
    no_model = ["train", "--model", "corpus:v1", "--dataset", nine, "--language", "en",
                "--name", "x", *place]  # fmt: skip
    refused = run_cli(no_model, home, cwd=here)
    assert (refused.code, "is a dataset, and a weight set" in refused.error) == (2, True)
    done = run_cli([*train, "--dataset", "corpus:v1", *place], home, cwd=here, timeout_s=200)
    assert done.code == 0, done.stderr
    assert "dataset: corpus:v1, checked, by" in done.stderr
    shutil.rmtree(home)
