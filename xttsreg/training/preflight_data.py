"""The doctor's checks of a dataset, one line a topic."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from xttsreg.content.artifacts import count_files
from xttsreg.errors import InvalidDataset, XttsregError
from xttsreg.ops.sources import find_dataset, load_dataset
from xttsreg.ops.views import checkout
from xttsreg.stores import durable
from xttsreg.stores.layout import LayoutStore
from xttsreg.stores.names import LAYOUT_FILE
from xttsreg.training.findings import TOPICS, Finding
from xttsreg.training.metadata import check_text
from xttsreg.training.options import TrainOptions
from xttsreg.training.preflight import Check, Checks, Subject, failed, guarded, ok, view_of, warn
from xttsreg.training.summary import DatasetSummary

_SEEN_BY_TOKENIZER = ("vocab.json", "config.json")


def examine_dataset(
    place: Path,
    name: str | None,
    options: TrainOptions,
    subject: Subject | None,
    *,
    with_tts: bool,
) -> list[Check]:
    """Check a dataset; without TTS only what can be seen without it.

    Args:
        place: The store's directory.
        name: What the user calls the dataset; None if ``options`` says where it is.
        options: Which dataset, and how to read it.
        subject: The weight set whose tokenizer the texts must fit; None to leave that out.
        with_tts: Whether TTS can be imported.
    """
    with ExitStack() as stack:
        found: list[Check] = []
        if name is not None:
            try:
                directory, found = stack.enter_context(located(place, name))
            except XttsregError as error:
                return [failed("dataset", error)]
            options = replace(options, dataset=directory)
        if with_tts:
            return found + guarded("metadata", lambda: _with_tts(options, subject))
        return found + guarded("metadata", lambda: _without_tts(options))


def require_dataset(place: Path, name: str, options: TrainOptions, subject: Subject | None) -> None:
    """Check a dataset as a run does before its first step.

    Args:
        place: The store's directory.
        name: The dataset: a directory, or its name in the store.
        options: How to read it.
        subject: The weight set whose tokenizer the texts must fit; None to leave that out.

    Raises:
        XttsregError: the first thing that is wrong.
    """
    from xttsreg.training.dataset import load_dataset

    with (
        located(place, name) as (directory, _),
        _tokenizer_view(subject) as view,
        contextlib.redirect_stdout(io.StringIO()),  # TTS prints, and stdout is for data
    ):
        load_dataset(replace(options, dataset=directory), view=view)


@contextmanager
def located(place: Path, name: str) -> Iterator[tuple[Path, list[Check]]]:
    """The directory of a dataset; one of the store gets a view, and is only read from it."""
    store = LayoutStore.open_existing(place) if (place / LAYOUT_FILE).is_file() else None
    source = find_dataset(store, name)
    if store is None or isinstance(source, Path):
        yield source if isinstance(source, Path) else Path(name), []
        return
    reference, entry, manifest = load_dataset(store, source)
    parent = store.state if store.is_writable() else None  # there links are possible
    if parent:
        durable.make_directory(parent)
    with tempfile.TemporaryDirectory(dir=parent, prefix="view-") as folder:
        view = Path(folder) / "dataset"
        checkout(store, entry, view, hardlink=True)
        text = f"{reference.tagged}: {count_files(manifest)} files, digests right"
        yield view, [ok("dataset", text)]


def _with_tts(options: TrainOptions, subject: Subject | None) -> Checks:
    from xttsreg.training.dataset import survey_dataset

    with _tokenizer_view(subject) as view:
        try:
            survey = survey_dataset(options, view=view)
        except XttsregError as error:
            return [failed("metadata" if isinstance(error, InvalidDataset) else "language", error)]
    summary = survey.data.summary if survey.data else None
    found = []
    for topic in TOPICS:
        mine = [finding for finding in survey.findings if finding.topic == topic]
        found += [_as_check(finding) for finding in mine]
        if summary and not any(finding.action for finding in mine):
            found.append(ok(topic, _all_right(topic, summary, checked=view is not None)))
    if view is None:
        text = "not held against a tokenizer"
        found.append(warn("texts", text, "give --model REF to check characters and language"))
    return found


def _without_tts(options: TrainOptions) -> Checks:
    if not options.dataset.is_dir():
        raise InvalidDataset(f"{options.dataset}: no such dataset directory")
    names = [name for name in (options.metadata, options.metadata_eval) if name]
    for name in names:
        path = options.dataset / name
        if not path.exists():
            raise InvalidDataset(f"{path}: no such metadata file", hint="see --metadata")
        if path.is_file():
            findings = check_text(path, options.formatter)
            yield from map(_as_check, findings)
            if not any(finding.action for finding in findings):
                yield ok("metadata", f"{name}: UTF-8, columns complete")
    yield warn("clips", "not opened: TTS is not installed here", "pip install 'xttsreg[train]'")


def _as_check(finding: Finding) -> Check:
    if finding.fatal:
        error = InvalidDataset(finding.message, hint=finding.action or None)
        return failed(finding.topic, error)
    level = "warn" if finding.action else "ok"
    return Check(finding.topic, level, finding.message, finding.action)  # type: ignore[arg-type]


def _all_right(topic: str, data: DatasetSummary, *, checked: bool) -> str:
    minutes = data.seconds / 60
    rates = ", ".join(map(str, data.sample_rates))
    return {
        "metadata": f"read with the formatter {data.formatter}",
        "clips": f"{data.clips} open, {minutes:.1f} min",
        "audio": f"{rates} Hz",
        "lengths": f"{data.shortest_seconds:.1f} to {data.longest_seconds:.1f} s, none left out",
        "texts": f"{data.language}, every character known" if checked else "none is empty",
        "names": "none twice",
        "split": f"{data.train_clips} to train, {data.eval_clips} to evaluate",
    }[topic]


@contextmanager
def _tokenizer_view(subject: Subject | None) -> Iterator[Path | None]:
    """A folder with the two small files that the texts are held against, under their names."""
    if subject is None or subject.file("vocab.json") is None:
        yield None
        return
    with view_of(subject, *_SEEN_BY_TOKENIZER) as view:
        yield view
