"""From a finished run to a voice in the store, and the page about it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from xttsreg.content.canonical import dump_canonical
from xttsreg.content.descriptor import Descriptor
from xttsreg.ops import licensing, lineage
from xttsreg.ops.export import describe_origin
from xttsreg.ops.progress import Progress
from xttsreg.ops.reports import Sound, hold_report
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore
from xttsreg.training import runs
from xttsreg.training.plot import plot_losses
from xttsreg.training.reference_clip import keep_reference
from xttsreg.training.report import REPORT_NAME, Story, gather_samples, write_report
from xttsreg.training.request import Request, Voice
from xttsreg.training.result import RunResult
from xttsreg.training.run import VIEW_NAME
from xttsreg.training.voice import extract_voice

CONFIG_NAME = "training.json"
PLOT_NAME = "losses.png"


def register(
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
    found = lineage.made_before(store, request.voice, facts)
    if found:
        voice, manifest = found
    else:
        # The name was free at the start; if somebody took it meanwhile, hours of work still count.
        voice = lineage.free_reference(store, request.voice)
        manifest = lineage.register_voice(store, voice, directory, facts, base, progress=progress)
    runs.write_record(run.directory, {**runs.read_record(run.directory), "registered": str(voice)})
    try:
        origin = describe_origin(store, voice, manifest, read_manifest(store, manifest))
        report = _report(store, manifest, request, run, directory, origin, settings, mode, progress)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Voice(
        voice=voice, manifest=manifest, base=base.reference, view_mode=mode, plot=plot,
        report=report, run=run,
    )  # fmt: skip


def _report(
    store: LayoutStore,
    voice: Descriptor,
    request: Request,
    run: RunResult,
    directory: Path,
    origin: dict[str, Any],
    settings: dict[str, Any],
    mode: str,
    progress: Progress,
) -> Path | None:
    """Make the page and put it beside the voice, which is registered: no failure is one of that."""
    try:
        samples = gather_samples(
            run, run.directory / VIEW_NAME, directory,
            speaker_wav=request.speaker_wav, wanted=request.samples, tell=progress.note,
        )  # fmt: skip
        story = Story(run=run, origin=origin, settings=settings, view_mode=mode, samples=samples)
        path = write_report(story, run.directory / REPORT_NAME)
        sounds = [Sound(f"{s.title.lower()}.wav", s.about, s.wav) for s in samples.samples]
        hold_report(store, voice, path.read_bytes(), sentence=samples.sentence, sounds=sounds)
        return path
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
