"""``xttsreg synth``: a voice of the store says something."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from xttsreg.content.artifacts import require_model
from xttsreg.content.reference import Reference
from xttsreg.ops.views import checkout
from xttsreg.stores import durable
from xttsreg.stores.base import read_manifest, resolve
from xttsreg.stores.layout import LayoutStore
from xttsreg.training.mounts import read_only
from xttsreg.training.synth import SynthResult, synthesize


def speak(
    store: LayoutStore,
    reference: Reference,
    text: str,
    *,
    language: str,
    output: Path | BinaryIO,
    speaker_wav: Path | None = None,
    device: str = "auto",
    seed: int | None = None,
) -> SynthResult:
    """Check a voice out, and `synthesize` with it.

    Raises:
        TagNotFound, IntegrityError: the voice is not there, or damaged.
        XttsregError: as `synthesize`.
    """
    entry = resolve(store, reference)
    require_model(reference, read_manifest(store, entry))
    # Beside the blobs, so that links are possible; the model is only read, so links are enough.
    parent = store.state if store.is_writable() else None
    if parent:
        durable.make_directory(parent)
    with tempfile.TemporaryDirectory(dir=parent, prefix="view-") as directory:
        view = Path(directory) / "weights"
        mode = checkout(store, entry, view, hardlink=True)
        with read_only(view) if mode == "hardlink" else nullcontext():
            return synthesize(
                view, text, language=language, speaker_wav=speaker_wav, output=output,
                seed=seed, device=device,
            )  # fmt: skip
