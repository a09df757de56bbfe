"""One tiny weight set, one dataset and one finished run for all tests of training."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import never_ask

from xttsreg.catalog import Catalog
from xttsreg.content.reference import Reference
from xttsreg.demo.clips import make_dataset
from xttsreg.ops.add import add
from xttsreg.stores.layout import LayoutStore
from xttsreg.training.finetune import finetune
from xttsreg.training.options import TrainOptions
from xttsreg.training.request import Request, Voice
from xttsreg.training.result import RunResult


@pytest.fixture(scope="session")
def tts() -> None:
    """Skip what needs the training half where it is not installed."""
    for module in ("torch", "TTS", "trainer"):
        pytest.importorskip(module, reason="needs xttsreg[train]")


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory for the session; removed at its end, since checkpoints are big."""
    directory = tmp_path_factory.mktemp("training")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def tiny(scratch: Path, tts: None) -> Path:
    """A tiny random weight set."""
    from xttsreg.training.environment import prepare_environment
    from xttsreg.training.synthetic import make_weight_set

    prepare_environment("cpu")
    make_weight_set(scratch / "tiny")
    return scratch / "tiny"


@pytest.fixture(scope="session")
def clips(scratch: Path) -> Path:
    """A dataset of six clips."""
    make_dataset(scratch / "clips", clips=6)
    return scratch / "clips"


@pytest.fixture(scope="session")
def finished(tiny: Path, clips: Path, scratch: Path) -> tuple[RunResult, list[dict[str, Any]]]:
    """A run of one epoch, and the events it told."""
    from xttsreg.training.run import train

    events: list[dict[str, Any]] = []
    result = train(tiny, quick(clips), scratch / "run", on_event=events.append)
    return result, events


@pytest.fixture(scope="session")
def voice_store(tiny: Path, clips: Path, scratch: Path) -> tuple[LayoutStore, Voice]:
    """A store with ``me:v1``, fine-tuned with a reference clip, and how it was made."""
    store = LayoutStore.create(scratch / "voices")
    add(store, Reference.parse("tiny:main"), tiny, Catalog([]), ask=never_ask)
    request = Request(
        model=Reference.parse("tiny:main"),
        voice=Reference.parse("me:v1"),
        options=quick(clips),
        output=scratch / "voice-run",
        speaker_wav=clips / "reference.wav",
    )
    return store, finetune(store, Catalog([]), request, ask=never_ask)


@pytest.fixture
def variant(tiny: Path, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Make a copy of the tiny set (by hard links) in which some files are replaced or absent.

    A replacement is bytes, an object for ``torch.save``, or None.
    """

    def make(**replaced: Any) -> Path:
        import torch

        view = tmp_path / "view"
        shutil.copytree(tiny, view, copy_function=os.link)
        for name, content in replaced.items():
            path = view / {"vocab": "vocab.json", "config": "config.json"}.get(name, f"{name}.pth")
            path.unlink()
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif content is not None:
                torch.save(content, path)
        return view

    yield make
    shutil.rmtree(tmp_path / "view", ignore_errors=True)


def quick(dataset: Path, **changes: Any) -> TrainOptions:
    """Options for a short run on a CPU."""
    chosen: dict[str, Any] = {
        "epochs": 1,
        "batch_size": 2,
        "grad_accum": 1,
        "workers": 0,
        "device": "cpu",
        "lr": 1e-3,
    }
    return TrainOptions(dataset=dataset, **{**chosen, **changes})
