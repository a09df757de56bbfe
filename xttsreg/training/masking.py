"""A loss that stock leaves undefined: batches of one clip in which nothing is left to predict.

To train, XTTS gives the model a piece of the clip as its reference and takes that piece out of
the loss. TTS 0.22.0 does so for the last clip of a batch only, and counts the piece in other units
than the codes, so it can cover the whole clip. In a batch of one the mean is then over nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def define_empty_loss(model: Any) -> None:
    """Make the audio loss of a ``GPTTrainer`` zero where nothing is left to predict.

    Every other batch is computed as before, to the last bit. A NaN that has another cause stays
    one: here the predictions are finite.

    Args:
        model: The constructed model; its GPT is changed in place.
    """
    import torch

    gpt = model.xtts.gpt
    stock_forward = gpt.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        result = stock_forward(*args, **kwargs)
        if not (isinstance(result, tuple) and len(result) == 3):
            return result
        loss_text, loss_mel, logits = result
        if logits.shape[0] == 1 and torch.isnan(loss_mel) and bool(torch.isfinite(logits).all()):
            loss_mel = (logits * 0.0).sum()  # still part of the graph, with zero gradients
        return loss_text, loss_mel, logits

    gpt.forward = forward


def eval_batch_size(clips: int, wanted: int) -> int:
    """The batch size next to the wanted one that leaves no evaluation batch with a single clip.

    In an evaluation the piece always begins at the start of the clip, so a single clip would always
    be covered, and its loss would say nothing.

    Args:
        clips: To evaluate on; two or more.
        wanted: Clips in a batch.

    >>> eval_batch_size(7, 3), eval_batch_size(6, 3), eval_batch_size(5, 1)
    (4, 3, 3)
    """
    candidates: Sequence[int] = range(max(2, wanted), clips + 2)
    return next((size for size in candidates if clips % size != 1), max(2, wanted))
