"""What a training run is asked for, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.reference import Reference
from xttsreg.stores.layout import LayoutStore
from xttsreg.training.options import TrainOptions
from xttsreg.training.result import RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for.

    Attributes:
        model: The weight set to start from.
        voice: What the result will be called.
        options: Of the training. Its ``dataset`` is that folder, unless the next one is given.
        dataset: A dataset of the store.
        output: The run's folder; None for one below the home.
        speaker_wav: A clip of the speaker, which goes into the voice.
        samples: Speak a sentence before and after for the report; needs ``speaker_wav``.
        shared: The store that has the model, if it is not the one that the voice goes into; it may
            be read-only.
    """

    model: Reference
    voice: Reference
    options: TrainOptions
    dataset: Reference | None = None
    output: Path | None = None
    speaker_wav: Path | None = None
    samples: bool = True
    shared: LayoutStore | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A trained and registered voice.

    Attributes:
        voice: Its name in the store.
        manifest: What that points at.
        base: What it was trained from, with digest.
        view_mode: How the trainer saw the weights: reflink, mount, hardlink or copy.
        plot: Picture of the losses.
        report: The page about the run; None if it could not be made.
        run: Everything about the run.
    """

    voice: Reference
    manifest: Descriptor
    base: Reference
    view_mode: str
    plot: Path
    report: Path | None
    run: RunResult

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON types."""
        return {
            "voice": str(self.voice),
            "digest": self.manifest.digest,
            "base": str(self.base),
            "view_mode": self.view_mode,
            "plot": str(self.plot),
            "report": str(self.report) if self.report else None,
            "run": self.run.as_dict(),
        }
