"""Construction without random weights gives the model that stock gives."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys

import pytest
from support import ROOT, clean_environment, command, never_ask

from xttsreg.catalog import Catalog
from xttsreg.content.reference import Reference
from xttsreg.ops.add import add
from xttsreg.stores.layout import LayoutStore
from xttsreg.training.blank import no_random_weights, quick_build
from xttsreg.training.checkpoint import safe_loading
from xttsreg.training.construct import construct
from xttsreg.training.recipe import build_config
from xttsreg.training.run import train

from .conftest import quick

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("tts")]


def every_tensor(model):
    """Parameters, all buffers (those no file holds included) and plain tensor attributes."""
    import torch

    found = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for prefix, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor):
                found[f"{prefix}.{name} (attribute)"] = value
    return found


@pytest.fixture
def own(tiny, tmp_path):
    """A copy of the set for stock code: coqui-tts writes model.pth anew when it loads it."""
    shutil.copytree(tiny, tmp_path / "own")
    yield tmp_path / "own"
    shutil.rmtree(tmp_path / "own")


def test_every_tensor_equals_a_stock_built_models(tiny, own, clips):
    from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer

    ours = every_tensor(construct(build_config(tiny, quick(clips), tiny / "out"), tiny))
    stock = every_tensor(GPTTrainer.init_from_config(build_config(own, quick(clips), own / "out")))
    assert list(ours) == list(stock)
    for name, tensor in ours.items():
        assert tensor.dtype == stock[name].dtype, name
        assert tensor.equal(stock[name]), name
        assert tensor.requires_grad == stock[name].requires_grad, name
        assert tensor.stride() == stock[name].stride(), name
    in_no_file = [name for name in ours if name.endswith(("attn.bias", "(attribute)"))]
    assert len(in_no_file) >= 4  # masks of transformers, mel_norms: there is something to get wrong


def test_what_is_random_is_left_out_and_nothing_else():
    import torch

    def first_after(make):
        torch.manual_seed(7)
        make()
        return torch.rand(())

    with no_random_weights():
        undrawn = first_after(lambda: torch.nn.Conv1d(40, 40, 3))
        assert torch.nn.LayerNorm(4).weight.equal(torch.ones(4))
    assert undrawn.equal(first_after(lambda: None))
    assert not undrawn.equal(first_after(lambda: torch.nn.Conv1d(40, 40, 3)))


def test_large_tensors_are_taken_from_the_file_and_never_written_back(tiny, clips):
    import torch

    with safe_loading():
        small = torch.load(tiny / "mel_stats.pth")
        with (tiny / "dvae.pth").open("rb") as stream:
            opened = torch.load(stream)["codebook.embed"]
    assert not is_mapped(small, tiny / "mel_stats.pth")
    assert is_mapped(opened, tiny / "dvae.pth")
    model = construct(build_config(tiny, quick(clips), tiny / "out"), tiny)
    assert is_mapped(model.xtts.gpt.mel_head.weight, tiny / "model.pth")
    assert not any(is_mapped(t, tiny / "mel_stats.pth") for t in every_tensor(model).values())
    before = (tiny / "model.pth").read_bytes()
    with torch.no_grad():
        model.xtts.gpt.mel_head.weight.add_(1)
    assert (tiny / "model.pth").read_bytes() == before


def test_tensors_of_a_file_that_share_memory_are_separate_in_the_model(tmp_path):
    import torch

    both, part = torch.ones(3, 3), torch.arange(16.0)[:3]
    state = {"one.weight": both, "two.weight": both, "one.bias": part, "two.bias": part.clone()}
    model = torch.nn.ModuleDict({"one": torch.nn.Linear(3, 3), "two": torch.nn.Linear(3, 3)})
    with quick_build():
        assert str(model.load_state_dict(state)) == "<All keys matched successfully>"
        halves = {name: value.half() for name, value in state.items()}
        converted = torch.nn.ModuleDict({"one": torch.nn.Linear(3, 3)})
        converted.load_state_dict(halves, strict=False)
    assert model["one"].weight.equal(both)
    assert model["one"].weight.data_ptr() != model["two"].weight.data_ptr()
    assert model["one"].bias.untyped_storage().nbytes() == 12
    assert model["two"].bias.requires_grad
    assert converted["one"].weight.dtype == torch.float32


def is_mapped(tensor, path):
    """Whether a tensor's memory is a mapping of a file."""
    from pathlib import Path

    address = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, last = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= address < end:
            return last == str(path)
    return False


# Builds a model from the store's files, and one from files that it then writes to; trains after.
BELOW_EXEC = f"""
{inspect.getsource(is_mapped)}
import os, sys
from pathlib import Path
from benchmarks import stock
import torch
from huggingface_hub import snapshot_download
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer
view, (own, clips, out) = Path(snapshot_download("coqui/XTTS-v2")), map(Path, sys.argv[1:4])
for folder in (view, own):
    model = GPTTrainer.init_from_config(stock.build_config(folder, clips, out))
    mapped = is_mapped(model.xtts.gpt.mel_head.weight, folder / "model.pth")
    print(mapped, os.access(folder / "model.pth", os.W_OK), flush=True)
torch.save(dict(model=model.xtts.state_dict()), own / "model.pth")
stock.main(own, clips, out, 3)
"""


def losses_told(process):
    events = [json.loads(line) for line in process.stderr.splitlines() if line.startswith("{")]
    return [event["loss"] for event in events if event["event"] == "step"]


def test_the_first_losses_equal_stocks(tiny, own, clips, tmp_path):
    """A plain script in a process of its own gives the same numbers, below ``exec`` as well."""

    def run(*arguments):
        return subprocess.run(
            [*arguments, own, clips, tmp_path / "stock", "3"],
            cwd=ROOT,
            env={**clean_environment(tmp_path / "home"), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    theirs = losses_told(run(sys.executable, "-m", "benchmarks.stock"))
    assert len(theirs) == 3
    result = train(tiny, quick(clips, eval_split=0, seed=1), tmp_path / "ours")
    assert [loss.loss for loss in result.step_losses] == theirs
    shutil.rmtree(tmp_path / "ours")
    store = LayoutStore.create(tmp_path / "home" / "store")
    add(store, Reference.parse("own:v1"), tiny, Catalog([]), ask=never_ask)
    below = run(*command("exec", "--", sys.executable, "-c", BELOW_EXEC))
    assert losses_told(below) == theirs, below.stderr
    told = [line for line in below.stdout.splitlines() if line.startswith(("True", "False"))]
    assert len(told) == 2
    for mapped, writable in map(str.split, told):
        assert mapped != writable
    shutil.rmtree(tmp_path / "home")
