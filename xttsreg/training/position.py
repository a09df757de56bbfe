"""Where a run is: how far in the data, and the state of every random generator there.

TTS draws clips and their reference slices from Python's generator as it goes, so the data that
follow depend on nothing but that state and, with data loader processes, on how many batches each
of them has delivered. Both can be restored; then the same data follow.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from xttsreg.errors import InvalidDataset

Generators = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What comes next in a run.

    Attributes:
        epoch: Of the next step or evaluation, as trainer counts: the evaluation of the base is 0.
        batches: How many of this epoch's training batches are done.
        evaluate: The training part of this epoch is complete, its evaluation is next.
    """

    epoch: int = 0
    batches: int = 0
    evaluate: bool = False

    @property
    def is_inside(self) -> bool:
        """Whether something of the epoch is done already."""
        return self.batches > 0 or self.evaluate

    def as_dict(self) -> dict[str, Any]:
        """Return the position as plain values."""
        return asdict(self)


def capture() -> Generators:
    """Return the state of all generators as tensors and plain values, which any fence lets pass."""
    import numpy
    import torch

    version, numbers, gauss = random.getstate()
    legacy: Any = numpy.random.get_state()  # its type allows for a dictionary, which this is not
    name, keys, place, has_gauss, cached = legacy
    state: Generators = {
        "python": [version, torch.tensor(numbers, dtype=torch.int64), gauss],
        "numpy": [name, torch.tensor(keys.astype("int64")), place, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore(state: Generators) -> None:
    """Put all generators where `capture` found them."""
    import numpy
    import torch

    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    name, keys, place, has_gauss, cached = state["numpy"]
    numpy.random.set_state((name, keys.numpy().astype("uint32"), place, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


class RestOfEpoch:
    """The batches of an epoch that are not done yet, in place of the stock loader.

    Its length is the whole epoch's, since trainer counts its accumulation by that.

    Args:
        loader: The stock data loader.
        done: Batches to leave out.
        at_start: Puts the generators where they were when the epoch began.
        at_place: Puts them where they were after the last batch done.

    Raises:
        InvalidDataset: there are not so many batches.
    """

    def __init__(
        self,
        loader: Any,
        *,
        done: int,
        at_start: Callable[[], None],
        at_place: Callable[[], None],
    ) -> None:
        if done > len(loader):
            raise InvalidDataset(
                f"the run has done {done} batches of an epoch that now has {len(loader)}",
                hint="the dataset was changed; go on with the one that the run began with",
            )
        self._loader = loader
        self._done = done
        self._at_start = at_start
        self._at_place = at_place

    def __len__(self) -> int:
        """Return the number of batches of the whole epoch."""
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        """Deliver the rest."""
        self._at_start()
        batches = self._replayed() if self._loader.num_workers else self._tail()
        # Making an iterator draws a number; the uninterrupted run had drawn it before this place.
        self._at_place()
        yield from batches

    def _replayed(self) -> Iterator[Any]:
        """Each process draws for itself: let all of them load once more what was done."""
        batches: Iterator[Any] = iter(self._loader)
        for _ in range(self._done):
            next(batches)
        return batches

    def _tail(self) -> Iterator[Any]:
        from torch.utils.data import DataLoader

        tail = DataLoader(
            self._loader.dataset,
            batch_sampler=list(self._loader.batch_sampler)[self._done :],
            collate_fn=self._loader.collate_fn,
        )
        return iter(tail)


def part_of_epoch(loader: Any, size: int) -> Any:
    """One process's part of an epoch: a loader of as many of its batches.

    Args:
        loader: The stock one of the training clips. Its dataset draws a clip at random whatever
            number it is asked for, so the parts differ by the generators' seeds.
        size: Of the team.
    """
    if size == 1:
        return loader
    from torch.utils.data import DataLoader

    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        sampler=range(math.ceil(len(loader.dataset) / size)),
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
    )
