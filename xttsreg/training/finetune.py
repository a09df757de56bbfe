"""``xttsreg train`` from end to end: store, view, trainer, voice, store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import BASE, require_model
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.modelpack import TRAIN_FILES
from xttsreg.content.reference import Reference
from xttsreg.errors import (
    AlreadyExists,
    InvalidInputError,
    InvalidModel,
    ReadOnlyMedia,
)
from xttsreg.ops import licensing, lineage
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.ops.views import check_after, checkout
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.names import LAYOUT_FILE
from xttsreg.training import preflight, runs
from xttsreg.training.clips import check_reference
from xttsreg.training.corpus import Corpus, open_corpus, reopen_corpus
from xttsreg.training.environment import require_training
from xttsreg.training.explain import named_as
from xttsreg.training.mounts import read_only
from xttsreg.training.register import register
from xttsreg.training.request import Request, Voice
from xttsreg.training.resume import read_options, require_same_engine
from xttsreg.training.run import VIEW_NAME, train
from xttsreg.training.run_artifact import speaker_in


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
    require_free(store, request.voice)
    output = request.output or runs.default_folder(request.voice)

    def find() -> Corpus:
        return open_corpus(store, request.dataset or request.options.dataset, output, progress)

    return _train(
        store, catalog, replace(request, output=output), find, False, ask, progress, on_event
    )


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
        given: Options that the user gave again, see `resume.read_options`. The dataset may be
            anywhere, if it has the same files; so may the ``shared`` store.
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
        request, origin = request_again(directory, given)
        if not runs.is_listed(directory):  # it came from another machine
            runs.list_elsewhere(request.voice, directory)

        def find() -> Corpus:
            return corpus_again(store, request, origin, given, progress)

        return _train(store, catalog, request, find, True, ask, progress, on_event)


def request_again(directory: Path, given: Mapping[str, Any]) -> tuple[Request, Mapping[str, Any]]:
    """What a run was asked for, as its folder tells it; and where it came from.

    Raises:
        XttsregError: as `resume`.
    """
    run = runs.read_run(directory)
    require_same_engine(run)
    places = ("dataset", "shared")
    options = read_options(run, {k: v for k, v in given.items() if k not in places})
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
        speaker_wav=speaker_in(directory, origin),
        samples=bool(origin.get("samples", True)),
        shared=_reopen(given.get("shared") or origin.get("shared")),
    )
    return request, origin


def corpus_again(
    store: LayoutStore,
    request: Request,
    origin: Mapping[str, Any],
    given: Mapping[str, Any],
    progress: Progress,
) -> Corpus:
    """The dataset of a run, wherever it is by now. Errors as `reopen_corpus`."""
    assert request.output is not None
    return reopen_corpus(
        store, origin, request.options.dataset, given.get("dataset"), request.output, progress
    )


def _train(
    store: LayoutStore,
    catalog: Catalog,
    request: Request,
    find: Callable[[], Corpus],
    is_resumed: bool,
    ask: licensing.Ask,
    progress: Progress,
    on_event: Callable[[dict[str, Any]], None] | None,
) -> Voice:
    """Train from the beginning, or go on."""
    base, subject, _ = ready(store, catalog, request, ask)
    source, entry = subject.store, subject.entry
    corpus = find()
    request = replace(request, options=replace(request.options, dataset=corpus.directory))
    assert request.output is not None
    output, made = request.output, not request.output.exists()
    more_bytes = corpus.copied_bytes(store, output)
    preflight.before_run(subject, request.options, output, progress.note, more_bytes=more_bytes)
    view = output / VIEW_NAME
    if is_resumed:  # a killed process could not remove them
        shutil.rmtree(view, ignore_errors=True)
        corpus.clear()
    origin = {
        "model": str(base.reference),
        "voice": str(request.voice),
        "dataset": str(corpus.entry.digest),
        "dataset_ref": str(corpus.reference) if corpus.reference else None,
        "speaker_wav": str(request.speaker_wav.absolute()) if request.speaker_wav else None,
        "samples": request.samples,
        "shared": str(source.root.absolute()) if request.shared else None,
    }
    if made:
        runs.list_elsewhere(request.voice, output)
    try:
        with (
            _checked_out(source, base.reference, entry, view, progress) as way,
            corpus.checked_out(store, progress) as is_linked,
        ):
            with named_as(base.reference.tagged, view):
                run = train(
                    view, request.options, output,
                    origin=origin, resume=is_resumed, on_event=on_event,
                )  # fmt: skip
            for violation in run.violations:
                progress.note(f"refused, and gone on without: {violation}")
            if way in ("hardlink", "mount"):
                check_after(source, entry)
            if is_linked:
                corpus.check_after(store)
            return register(store, request, base, corpus.entry, run, way, progress)
    finally:
        if made and output.is_dir() and not any(output.iterdir()):
            output.rmdir()


def ready(
    store: LayoutStore, catalog: Catalog, request: Request, ask: licensing.Ask
) -> tuple[lineage.Base, preflight.Subject, bool]:
    """The base, where it is, and whether its terms were accepted, here and now or before.

    Raises:
        XttsregError: as `finetune`.
    """
    source = request.shared or store
    entry, base = lineage.load_base(source, request.model)
    require_writable(store)
    _require_trainable(base)
    require_training()
    if request.speaker_wav:
        check_reference(request.speaker_wav)
    terms = licensing.terms_for(base.reference.tagged, base.manifest, catalog)
    acceptance = licensing.obtain(source, entry, base.manifest, terms, ask)
    if acceptance and source.is_writable():
        licensing.record(source, entry, base.manifest, acceptance)
    base = replace(base, acceptance=acceptance or base.acceptance)
    subject = preflight.Subject(source, base.reference, entry, base.manifest)
    return base, subject, acceptance is not None


@contextmanager
def _checked_out(
    store: LayoutStore, name: Reference, entry: Descriptor, view: Path, progress: Progress
) -> Iterator[str]:
    """A view of the weights, read whole: an hour of training is worth a second of hashing.

    Yields:
        How it was made, see `request.Voice`.
    """
    mode = checkout(store, entry, view, hardlink=True, use_cache=False, progress=progress)
    try:
        with read_only(view) if mode == "hardlink" else nullcontext(False) as mounted:
            said = f"{mode}, under a read-only mount" if mounted else mode
            progress.note(f"weights: {name.tagged}, checked, by {said}")
            yield "mount" if mounted else mode
    finally:
        shutil.rmtree(view, ignore_errors=True)


def _reopen(shared: str | Path | None) -> LayoutStore | None:
    """The store that a run had its base from, unless it is out of reach: then it is as others."""
    if shared is None or not (Path(shared) / LAYOUT_FILE).is_file():
        return None
    return LayoutStore.open_existing(Path(shared))


def require_free(store: LayoutStore, voice: Reference) -> None:
    """Make sure that no other voice has this name.

    Raises:
        AlreadyExists: one has.
    """
    if voice.tagged in store.tags():
        free = lineage.free_reference(store, voice)
        raise AlreadyExists(f"{voice.tagged}: exists already", hint=f"--name {free.tagged} is free")


def require_writable(store: LayoutStore) -> None:
    """Make sure that the voice will have a place.

    Raises:
        ReadOnlyMedia: the store cannot be written to.
    """
    if not store.is_writable():
        raise ReadOnlyMedia(
            f"{store.root}: is read-only, so the voice could not be registered in the end",
            hint=f"give a store of your own with --store, and this one with --from {store.root}",
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
