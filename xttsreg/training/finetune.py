"""``xttsreg train`` from end to end: store, view, trainer, voice, store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import BASE, require_model
from xttsreg.content.modelpack import TRAIN_FILES
from xttsreg.content.reference import Reference
from xttsreg.errors import (
    AlreadyExists,
    InvalidDataset,
    InvalidInputError,
    InvalidModel,
    ReadOnlyMedia,
)
from xttsreg.ops import licensing, lineage
from xttsreg.ops.datasets import describe_dataset
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.ops.views import check_after, checkout
from xttsreg.stores.layout import LayoutStore
from xttsreg.training import preflight, runs
from xttsreg.training.environment import require_training
from xttsreg.training.explain import named_as
from xttsreg.training.reference_clip import check_reference
from xttsreg.training.register import register
from xttsreg.training.request import Request, Voice
from xttsreg.training.resume import read_options
from xttsreg.training.run import VIEW_NAME, train


def finetune(
    store: LayoutStore,
    catalog: Catalog,
    request: Request,
    *,
    ask: licensing.Ask,
    progress: Progress = QUIET,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Voice:
    """Fine-tune a weight set of the store and register the voice.

    Raises:
        XttsregError: whatever is wrong with the names, the terms, the weights or the dataset is
            found before the first step; nothing is registered then.
    """
    _require_free(store, request.voice)
    request = _located(request)
    return _train(store, catalog, request, None, ask, progress, on_event)


def resume(
    store: LayoutStore,
    catalog: Catalog,
    directory: Path,
    given: Mapping[str, Any],
    *,
    ask: licensing.Ask,
    progress: Progress = QUIET,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> Voice:
    """Go on with a run where its last checkpoint is, and register the voice.

    Args:
        store: Has the base that the run began with.
        catalog: For the terms.
        directory: The run's folder.
        given: Options that the user gave again, see `resume.read_options`.
        ask: For a yes to the terms.
        progress: Watches.
        on_event: As `run.train` has it.

    Raises:
        InvalidInputError: the run is complete, or an option contradicts it.
        InvalidDataset: the dataset is not the one that the run began with.
        StoreLocked: another process is at this run.
        XttsregError: as `finetune`.
    """
    require_training()
    with runs.run_lock(directory):
        run = runs.read_run(directory)
        options = read_options(run, given)
        origin = run.record.get("origin") or {}
        if not {"model", "voice", "dataset"} <= set(origin):
            raise InvalidModel(f"{directory / runs.RECORD_NAME}: does not say what it trains from")
        if run.record.get("registered") and options.epochs == run.record["options"]["epochs"]:
            raise InvalidInputError(
                f"{run.name}: is complete, its voice is {run.voice}",
                hint=f"to train longer: --epochs with more than {options.epochs}",
            )
        request = Request(
            model=Reference.parse(origin["model"]),
            voice=Reference.parse(origin["voice"]),
            options=options,
            output=directory,
            speaker_wav=Path(origin["speaker_wav"]) if origin.get("speaker_wav") else None,
            samples=bool(origin.get("samples", True)),
        )
        return _train(store, catalog, request, origin["dataset"], ask, progress, on_event)


def _located(request: Request) -> Request:
    """Fill in what a later process could not guess: where the run and its dataset are."""
    options = replace(request.options, dataset=request.options.dataset.absolute())
    output = request.output or runs.default_folder(request.voice)
    return replace(request, options=options, output=output)


def _train(
    store: LayoutStore,
    catalog: Catalog,
    request: Request,
    known_dataset: str | None,
    ask: licensing.Ask,
    progress: Progress,
    on_event: Callable[[dict[str, Any]], None] | None,
) -> Voice:
    """Train from the beginning, or, if the dataset is known from before, go on."""
    entry, base = lineage.load_base(store, request.model)
    _require_writable(store)
    _require_trainable(base)
    require_training()
    if request.speaker_wav:
        check_reference(request.speaker_wav)
    if not request.options.dataset.is_dir():
        raise InvalidDataset(f"{request.options.dataset}: no such directory")
    terms = licensing.terms_for(base.reference.tagged, base.manifest, catalog)
    licensing.require(store, entry, base.manifest, terms, ask)
    base = lineage.load_base(store, base.reference)[1]
    dataset = describe_dataset(request.options.dataset, progress=progress).describe()
    if known_dataset not in (None, str(dataset.digest)):
        raise InvalidDataset(
            f"{request.options.dataset}: has changed since the run began",
            hint="bring back what it was, or begin a new run without --resume",
        )
    assert request.output is not None
    output, made = request.output, not request.output.exists()
    subject = preflight.Subject(store, base.reference, entry, base.manifest)
    preflight.before_run(subject, request.options, output, progress.note)
    view = output / VIEW_NAME
    if known_dataset:  # a killed process could not remove it
        shutil.rmtree(view, ignore_errors=True)
    origin = {
        "model": str(base.reference),
        "voice": str(request.voice),
        "dataset": str(dataset.digest),
        "speaker_wav": str(request.speaker_wav.absolute()) if request.speaker_wav else None,
        "samples": request.samples,
    }
    if made:
        runs.list_elsewhere(request.voice, output)
    # Read whole, whatever was checked before: an hour of training is worth a second of hashing.
    mode = checkout(store, entry, view, hardlink=True, use_cache=False, progress=progress)
    progress.note(f"weights: {base.reference.tagged}, checked, by {mode}")
    try:
        with named_as(base.reference.tagged, view):
            run = train(
                view,
                request.options,
                output,
                origin=origin,
                resume=known_dataset is not None,
                on_event=on_event,
            )
        for violation in run.violations:
            progress.note(f"refused, and gone on without: {violation}")
        if mode == "hardlink":
            check_after(store, entry)
        return register(store, request, base, dataset, run, mode, progress)
    finally:
        shutil.rmtree(view, ignore_errors=True)
        if made and output.is_dir() and not any(output.iterdir()):
            output.rmdir()


def _require_free(store: LayoutStore, voice: Reference) -> None:
    if voice.tagged in store.tags():
        free = lineage.free_reference(store, voice)
        raise AlreadyExists(f"{voice.tagged}: exists already", hint=f"--name {free.tagged} is free")


def _require_writable(store: LayoutStore) -> None:
    if not store.is_writable():
        raise ReadOnlyMedia(
            f"{store.root}: is read-only, so the voice could not be registered in the end",
            hint="import the weights into a store that you may write to, and give it with --store",
        )


def _require_trainable(base: lineage.Base) -> None:
    require_model(base.reference, base.manifest)
    missing = [name for name in TRAIN_FILES if name not in base.manifest.files()]
    if missing:
        origin = base.manifest.annotations.get(BASE, "")
        source = origin.partition("@")[0] or "xtts_v2:main"
        raise InvalidModel(
            f"{base.reference.tagged}: cannot be trained on, it has no {', '.join(missing)}",
            hint=f"train from {source}, or `xttsreg add` a directory that has all of "
            f"{', '.join(TRAIN_FILES)}",
        )
