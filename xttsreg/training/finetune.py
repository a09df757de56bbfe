"""``xttsreg train`` from end to end: store, view, trainer, voice, store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xttsreg.catalog import Catalog
from xttsreg.content.canonical import dump_canonical
from xttsreg.content.descriptor import Descriptor
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
from xttsreg.training import runs
from xttsreg.training.environment import require_training
from xttsreg.training.options import TrainOptions
from xttsreg.training.plot import plot_losses
from xttsreg.training.result import RunResult
from xttsreg.training.resume import read_options
from xttsreg.training.run import VIEW_NAME, train
from xttsreg.training.voice import extract_voice

CONFIG_NAME = "training.json"
PLOT_NAME = "losses.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for.

    Attributes:
        model: The weight set to start from.
        voice: What the result will be called.
        options: Of the training.
        output: The run's folder; None for one below the home.
    """

    model: Reference
    voice: Reference
    options: TrainOptions
    output: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A trained and registered voice.

    Attributes:
        voice: Its name in the store.
        manifest: What that points at.
        base: What it was trained from, with digest.
        view_mode: How the trainer saw the weights: reflink, hardlink or copy.
        plot: Picture of the losses.
        run: Everything about the run.
    """

    voice: Reference
    manifest: Descriptor
    base: Reference
    view_mode: str
    plot: Path
    run: RunResult

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON types."""
        return {
            "voice": str(self.voice),
            "digest": self.manifest.digest,
            "base": str(self.base),
            "view_mode": self.view_mode,
            "plot": str(self.plot),
            "run": self.run.as_dict(),
        }


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
    view = output / VIEW_NAME
    if known_dataset:  # a killed process could not remove it
        shutil.rmtree(view, ignore_errors=True)
    origin = {
        "model": str(base.reference),
        "voice": str(request.voice),
        "dataset": str(dataset.digest),
    }
    if made:
        runs.list_elsewhere(request.voice, output)
    mode = checkout(store, entry, view, hardlink=True, progress=progress)
    progress.note(f"weights: {base.reference.tagged}, checked, by {mode}")
    try:
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
        return _register(store, request, base, dataset, run, mode, progress)
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
    missing = [name for name in TRAIN_FILES if name not in base.manifest.files()]
    if missing:
        origin = base.manifest.annotations.get(lineage.BASE, "")
        source = origin.partition("@")[0] or "xtts_v2:main"
        raise InvalidModel(
            f"{base.reference.tagged}: cannot be trained on, it has no {', '.join(missing)}",
            hint=f"train from {source}, or `xttsreg add` a directory that has all of "
            f"{', '.join(TRAIN_FILES)}",
        )


def _register(
    store: LayoutStore,
    request: Request,
    base: lineage.Base,
    dataset: Descriptor,
    run: RunResult,
    mode: str,
    progress: Progress,
) -> Voice:
    """From the run's folder into the store. Whatever fails here, the checkpoints stay."""
    plot = run.directory / PLOT_NAME
    plot_losses(run.step_losses, run.eval_losses, plot)
    directory = run.directory / "voice"
    shutil.rmtree(directory, ignore_errors=True)  # of a registration that failed
    extract_voice(run, run.directory / VIEW_NAME, directory)
    (directory / CONFIG_NAME).write_bytes(dump_canonical(_configuration(run, base)))
    facts = lineage.Lineage(
        dataset_digest=dataset.digest,
        config_path=CONFIG_NAME,
        created=run.finished,
        author=licensing.current_user(),
        facts=_facts(run),
    )
    # The name was free at the start; if somebody took it meanwhile, hours of work still count.
    voice = lineage.free_reference(store, request.voice)
    manifest = lineage.register_voice(store, voice, directory, facts, base, progress=progress)
    runs.write_record(run.directory, {**runs.read_record(run.directory), "registered": str(voice)})
    shutil.rmtree(directory, ignore_errors=True)
    return Voice(
        voice=voice, manifest=manifest, base=base.reference, view_mode=mode, plot=plot, run=run
    )


def _facts(run: RunResult) -> dict[str, str]:
    losses = run.eval_losses or run.step_losses
    return {
        "proof": f"{run.proof.restored}/{run.proof.total}",
        "steps": str(len(run.step_losses)),
        "loss": f"{losses[-1].loss:.6f}" if losses else "",
        "clips": str(run.dataset.train_clips),
        "started": run.started,
        **{f"version.{name}": version for name, version in sorted(run.versions.items())},
    }


def _configuration(run: RunResult, base: lineage.Base) -> dict[str, Any]:
    """What the run was told, without the paths of this machine: the voice travels."""
    keys = ("options", "config", "versions", "started", "finished")
    content = {key: value for key, value in run.as_dict().items() if key in keys}
    without_paths = _basenames({**content, "dataset": run.dataset.as_dict()})
    return {**without_paths, "base": str(base.reference), "proof": run.proof.as_dict()}


def _basenames(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _basenames(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_basenames(inner) for inner in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    if isinstance(value, float) and value != value or value in (float("inf"), float("-inf")):
        return str(value)  # JSON has no such numbers
    return value
