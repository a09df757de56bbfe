"""The whole circle through the command line, with the real trainer, and where it must stop."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from support import Ran, clean_environment, run_cli, tree

from xttsreg.demo.clips import make_dataset

pytestmark = pytest.mark.train

QUICK = [
    "--formatter", "ljspeech", "--language", "en", "--epochs", "1", "--batch-size", "2",
    "--grad-accum", "1", "--eval-split", "2", "--workers", "0", "--device", "cpu",
]  # fmt: skip

# What people run today, in a few lines: the stock trainer on the stock GPTTrainer.
STOCK = """
import sys
from pathlib import Path
from trainer import Trainer, TrainerArgs
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer
from xttsreg.training.dataset import load_dataset
from xttsreg.training.options import TrainOptions
from xttsreg.training.recipe import build_config

weights, dataset, output = map(Path, sys.argv[1:])
options = TrainOptions(dataset=dataset, epochs=1, batch_size=2, grad_accum=1, workers=0,
                       eval_split=2, device="cpu")
config = build_config(weights, options, output)
config.epochs = 1
data = load_dataset(options)
sys.argv[1:] = []
Trainer(TrainerArgs(restore_path=None), config, output_path=str(output),
        model=GPTTrainer.init_from_config(config), train_samples=data.train,
        eval_samples=data.evaluation).fit()
"""


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory):
    for module in ("torch", "TTS", "trainer"):
        pytest.importorskip(module, reason="needs xttsreg[train]")
    directory = tmp_path_factory.mktemp("circle")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def tiny(scratch: Path) -> Path:
    code = (
        "import sys, pathlib; from xttsreg.training.synthetic import make_weight_set;"
        " make_weight_set(pathlib.Path(sys.argv[1]))"
    )
    environ = clean_environment(scratch / "home")
    subprocess.run([sys.executable, "-c", code, str(scratch / "tiny")], env=environ, check=True)
    return scratch / "tiny"


@pytest.fixture(scope="module")
def clips(scratch: Path) -> Path:
    make_dataset(scratch / "clips", clips=6)
    return scratch / "clips"


@pytest.fixture(scope="module")
def renamed(tiny: Path, scratch: Path) -> Path:
    """The tiny set with every key of GPT and DVAE renamed."""
    import torch

    from xttsreg.training.checkpoint import load_checked

    weights = scratch / "renamed"
    shutil.copytree(tiny, weights, copy_function=os.link)
    model, dvae = load_checked(tiny / "model.pth"), load_checked(tiny / "dvae.pth")
    model["model"] = {k.replace("gpt.", "gpt_v9.", 1): v for k, v in model["model"].items()}
    for name, value in (("model", model), ("dvae", {f"m.{k}": v for k, v in dvae.items()})):
        (weights / f"{name}.pth").unlink()
        torch.save(value, weights / f"{name}.pth")
    return weights


@pytest.fixture
def home(scratch: Path, tmp_path: Path) -> Path:
    """A home whose store is gone after the test: weights are big."""
    yield tmp_path / "home"
    shutil.rmtree(tmp_path, ignore_errors=True)


def add(home: Path, name: str, weights: Path) -> None:
    done = run_cli(["add", name, weights], home)
    assert done.code == 0, done.stderr


def train(home: Path, model: str, dataset: Path, *more: object) -> Ran:
    args = ["train", "--model", model, "--dataset", dataset, "--name", "voice", *QUICK, *more]
    return run_cli(args, home, timeout_s=300)


def test_demo_closes_the_circle(scratch, tmp_path):
    done = run_cli(["demo", "--directory", tmp_path / "demo", "--json"], tmp_path / "home",
                   timeout_s=500)  # fmt: skip
    try:
        assert done.code == 0, done.stderr
        rows = {row["step"]: row["result"] for row in json.loads(done.stdout)}
        assert rows["layers restored"].startswith("687 / 687: gpt ")
        assert rows["sha256sum -c"] == "passes, without xttsreg"
        first, *_, last = map(float, rows["evaluation loss"].split(" -> "))
        assert last < first
        with wave.open(str(tmp_path / "demo" / "demo.wav")) as wav:
            assert wav.getframerate() == 24000
            assert wav.getnframes() > 2400
        offline = tmp_path / "demo" / "offline"
        voice = json.loads(run_cli(["inspect", "demo-voice:v1", "--json"], offline).stdout)
        base = json.loads(run_cli(["inspect", "xtts_v2-tiny:main", "--json"], offline).stdout)
        assert voice["base"] == f"xtts_v2-tiny:main@{base['digest']}"
        assert voice["license"]["accepted_by"] == base["license"]["accepted_by"]
        assert voice["annotations"]["io.xttsreg.lineage.proof"] == "687/687"
        paths = {file["path"] for file in voice["files"]}
        assert paths >= {"model.pth", "config.json", "vocab.json", "LICENSE.txt", "training.json"}
        assert "dvae.pth" not in paths
        training = next(f for f in voice["files"] if f["path"] == "training.json")
        text = (offline / "store/blobs/sha256" / training["digest"][7:]).read_text()
        assert str(tmp_path) not in text, "a voice travels: no path of this machine in it"
    finally:
        shutil.rmtree(tmp_path / "demo", ignore_errors=True)


def test_stock_trains_noise_in_silence(renamed, clips, scratch):
    """What xttsreg is for: stock takes wrong weights, trains on and exits 0."""
    environ = clean_environment(scratch / "home", TRAINER_TELEMETRY="0", CUDA_VISIBLE_DEVICES="")
    command = [sys.executable, "-c", STOCK, str(renamed), str(clips), str(scratch / "stock")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "DVAE weights restored" in done.stdout
    assert list((scratch / "stock").rglob("best_model.pth"))


def test_renamed_keys_stop_before_the_first_step(renamed, clips, home):
    add(home, "renamed:v1", renamed)
    before = tree(home / "store")
    done = train(home, "renamed:v1", clips)
    assert done.code == 4
    assert "gpt" in done.error
    assert "dvae" in done.error
    assert "loss" not in done.stderr.replace(done.error, "")
    assert tree(home / "store") == before
    assert not (home / "runs").exists() or not any((home / "runs").iterdir())


def test_inference_only_set_says_what_is_missing(tiny, clips, home, scratch):
    weights = scratch / "inference-only"
    shutil.copytree(tiny, weights, copy_function=os.link,
                    ignore=shutil.ignore_patterns("dvae.pth", "mel_stats.pth"))  # fmt: skip
    add(home, "voiceonly:v1", weights)
    done = train(home, "voiceonly:v1", clips)
    assert done.code == 2
    assert "dvae.pth" in done.error
    assert "mel_stats.pth" in done.error
    assert "xttsreg add" in done.hint


def test_damaged_weights_never_reach_the_trainer(tiny, clips, home):
    add(home, "own:v1", tiny)
    files = json.loads(run_cli(["inspect", "own:v1", "--json"], home).stdout)["files"]
    digest = next(f["digest"] for f in files if f["path"] == "dvae.pth")
    blob = home / "store" / "blobs" / "sha256" / digest[7:]
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.unlink()
    blob.write_bytes(data)
    done = train(home, "own:v1", clips)
    assert done.code == 4
    assert "dvae.pth" in done.error


def test_bad_requests_stop_early_and_write_nothing(tiny, clips, home, tmp_path):
    add(home, "own:v1", tiny)
    run_cli(["tag", "own:v1", "voice:v1"], home)
    before = tree(home / "store")
    empty = tmp_path / "empty"
    empty.mkdir()
    missing = tmp_path / "missing"
    shutil.copytree(clips, missing)
    victim = sorted((missing / "wavs").iterdir())[0]
    victim.unlink()
    free = ["--name", "other"]
    cases = [
        (train(home, "nothing:v1", clips, *free), 3, "nothing:v1"),
        (train(home, "own:v1", clips), 2, "voice:v1"),  # the name is taken
        (train(home, "own:v1", empty, *free), 2, "empty"),
        (train(home, "own:v1", missing, *free), 2, victim.stem),
        (train(home, "own:v1", clips, *free, "--language", "xx"), 2, "xx"),
        (train(home, "own:v1", clips, *free, "--formatter", "nope"), 2, "nope"),
        (train(home, "own:v1", clips, *free, "-o", "no_such_field=1"), 2, "no_such_field"),
        (train(home, "own:v1", tmp_path / "nowhere", *free), 2, "nowhere"),
    ]
    for done, code, text in cases:
        assert done.code == code, done.stderr
        assert text in done.error
        assert done.stdout == ""
    assert tree(home / "store") == before
    assert not any((home / "runs").glob("*"))


def test_inspect_answers_the_classic_question(tiny, home):
    done = run_cli(["inspect", tiny / "model.pth"], home)
    assert done.code == 0
    assert "inference checkpoint" in done.stdout
    assert "0 / N layers are restored" in done.stdout
    value = json.loads(run_cli(["inspect", tiny / "model.pth", "--json"], home).stdout)
    assert (value["kind"], value["layers"]) == ("inference", 627)
