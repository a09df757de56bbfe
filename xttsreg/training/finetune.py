"""``xttsreg train`` from end to end: store, view, trainer, voice, store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from xttsreg import places
from xttsreg.catalog import Catalog
from xttsreg.content.canonical import dump_canonical
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.modelpack import TRAIN_FILES
from xttsreg.content.reference import Reference
from xttsreg.errors import AlreadyExists, InvalidDataset, InvalidModel
from xttsreg.ops import licensing, lineage
from xttsreg.ops.datasets import describe_dataset
from xttsreg.ops.export import describe_origin
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.ops.views import check_after, checkout
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore
from xttsreg.training import preflight
from xttsreg.training.environment import require_training
from xttsreg.training.options import TrainOptions
from xttsreg.training.plot import plot_losses
from xttsreg.training.reference_clip import check_reference, keep_reference
from xttsreg.training.report import REPORT_NAME, Story, gather_samples, write_report
from xttsreg.training.result import RunResult
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
        speaker_wav: A clip of the speaker, which goes into the voice.
        samples: Speak a sentence before and after for the report; needs ``speaker_wav``.
    """

    model: Reference
    voice: Reference
    options: TrainOptions
    output: Path | None = None
    speaker_wav: Path | None = None
    samples: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A trained and registered voice.

    Attributes:
        voice: Its name in the store.
        manifest: What that points at.
        base: What it was trained from, with digest.
        view_mode: How the trainer saw the weights: reflink, hardlink or copy.
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
    entry, base = lineage.load_base(store, request.model)
    _require_free(store, request.voice)
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
    output = request.output or _default_output(request.voice)
    subject = preflight.Subject(store, base.reference, entry, base.manifest)
    preflight.before_run(subject, request.options, output, progress.note)
    made = not output.exists()
    view = output / VIEW_NAME
    mode = checkout(store, entry, view, hardlink=True, progress=progress)
    progress.note(f"weights: {base.reference.tagged}, checked, by {mode}")
    try:
        run = train(view, request.options, output, on_event=on_event)
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


def _default_output(voice: Reference) -> Path:
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    return places.default_runs() / f"{voice.name.replace('/', '-')}-{voice.tag}-{stamp}"


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
    extract_voice(run, run.directory / VIEW_NAME, directory)
    if request.speaker_wav:
        keep_reference(request.speaker_wav, directory)
    settings = _configuration(run, base)
    (directory / CONFIG_NAME).write_bytes(dump_canonical(settings))
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
    try:
        origin = describe_origin(store, voice, manifest, read_manifest(store, manifest))
        report = _report(request, run, directory, origin, settings, mode, progress)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Voice(
        voice=voice, manifest=manifest, base=base.reference, view_mode=mode, plot=plot,
        report=report, run=run,
    )  # fmt: skip


def _report(
    request: Request,
    run: RunResult,
    directory: Path,
    origin: dict[str, Any],
    settings: dict[str, Any],
    mode: str,
    progress: Progress,
) -> Path | None:
    """Make the page. The voice is registered: whatever fails here must not look like a failure."""
    try:
        samples = gather_samples(
            run, run.directory / VIEW_NAME, directory,
            speaker_wav=request.speaker_wav, wanted=request.samples, tell=progress.note,
        )  # fmt: skip
        story = Story(run=run, origin=origin, settings=settings, view_mode=mode, samples=samples)
        return write_report(story, run.directory / REPORT_NAME)
    except Exception as error:
        progress.note(f"the voice is registered, but there is no report: {error!r}")
        return None


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
