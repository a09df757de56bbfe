"""Batches of one clip: stock's loss over nothing, and how it is kept out."""

from __future__ import annotations

import math

import pytest

from xttsreg.training.masking import define_empty_loss, eval_batch_size

from .conftest import quick

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("tts")]


@pytest.fixture(scope="module")
def model(tiny, clips):
    from xttsreg.training.construct import construct
    from xttsreg.training.recipe import build_config

    return construct(build_config(tiny, quick(clips), clips / "out"), tiny)


def losses(model, rows, start):
    """The two losses of a batch; the reference piece is everything from sample ``start`` on."""
    import torch

    torch.manual_seed(0)
    samples = 30_000
    wav_lengths = torch.full((rows,), samples)
    with torch.no_grad():
        text, mel, _ = model.xtts.gpt(
            torch.randint(5, 100, (rows, 12)),
            torch.full((rows,), 12),
            torch.randint(0, 1000, (rows, 30)),
            wav_lengths,
            cond_mels=torch.randn(rows, 1, 80, 200),
            cond_idxs=torch.tensor([[start, samples]] * rows),
        )
    return float(text), float(mel)


def test_stock_loses_a_covered_single_clip_and_we_do_not(model):
    gpt = model.xtts.gpt
    before = losses(model, 2, 0), losses(model, 1, 29_000)
    stock = losses(model, 1, 0)
    assert math.isnan(stock[1]), "stock has no loss here; if it has one now, drop the module"
    try:
        define_empty_loss(model)
        assert losses(model, 1, 0) == (stock[0], 0.0)
        assert (losses(model, 2, 0), losses(model, 1, 29_000)) == before
    finally:
        del gpt.forward


def test_another_nan_stays_one(model):
    import torch

    gpt = model.xtts.gpt
    weight = gpt.mel_head.weight
    kept = weight.detach().clone()
    try:
        define_empty_loss(model)
        with torch.no_grad():
            weight.fill_(float("nan"))
        assert math.isnan(losses(model, 1, 0)[1])
    finally:
        with torch.no_grad():
            weight.copy_(kept)
        del gpt.forward


@pytest.mark.parametrize("clips", range(2, 40))
@pytest.mark.parametrize("wanted", [1, 2, 3, 8])
def test_no_evaluation_batch_has_a_single_clip(clips, wanted):
    size = eval_batch_size(clips, wanted)
    assert size >= wanted
    assert clips % size != 1
