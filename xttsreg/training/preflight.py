"""``xttsreg doctor``: what a run checks, and more, as a list that goes on after a failure.

A check is a function that returns `Check`s or raises an `XttsregError`, which becomes a FAIL with
that error's own exit code and hint. So doctor and `train` say the same of the same fault.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import require_model
from xttsreg.content.checkpoint import Kind, require_safe
from xttsreg.content.descriptor import Descriptor
from xttsreg.content.manifest import Manifest
from xttsreg.content.modelpack import INFER_FILES, TRAIN_FILES
from xttsreg.content.reference import Reference
from xttsreg.errors import IntegrityError, InvalidModel, StoreNotFound, XttsregError
from xttsreg.ops import licensing
from xttsreg.stores.base import read_manifest, resolve
from xttsreg.stores.layout import LayoutStore
from xttsreg.training.explain import named_as
from xttsreg.training.options import TrainOptions

Level = Literal["ok", "warn", "fail"]
_KINDS: dict[str, tuple[Kind, ...]] = {
    "model.pth": ("inference", "trainer"),
    "dvae.pth": ("dvae",),
    "mel_stats.pth": ("mel_stats",),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's table.

    Attributes:
        name: What was looked at.
        level: ``warn`` does not stop a run, ``fail`` does.
        message: What was found.
        action: What to do about it.
        exit_code: Of a failure.
    """

    name: str
    level: Level
    message: str
    action: str = ""
    exit_code: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the check as JSON types."""
        return {
            "name": self.name,
            "level": self.level,
            "message": self.message,
            "action": self.action,
            "exit_code": self.exit_code,
        }


Checks = Iterable[Check]


def ok(name: str, message: str) -> Check:
    """A check that found everything right."""
    return Check(name, "ok", message)


def warn(name: str, message: str, action: str) -> Check:
    """A check that found something odd."""
    return Check(name, "warn", message, action)


def failed(name: str, error: XttsregError) -> Check:
    """A check that found why a run would not begin."""
    return Check(name, "fail", error.message, error.hint or "", error.exit_code)


def guarded(name: str, check: Callable[[], Checks]) -> list[Check]:
    """Run a check; an error of ours becomes a FAIL, and an unexpected one, too."""
    try:
        return list(check())
    except XttsregError as error:
        return [failed(name, error)]
    except Exception as error:  # a doctor that falls ill helps nobody
        text = f"unexpected {type(error).__name__}: {error}"
        return [Check(name, "fail", text, "repeat with --debug train; this may be a bug", 1)]


def exit_code(checks: Sequence[Check]) -> int:
    """Return the first failure's exit code, or 0."""
    return next((check.exit_code for check in checks if check.level == "fail"), 0)


@dataclass(frozen=True, slots=True)
class Subject:
    """A weight set that is looked at: where its blobs are, and what it holds."""

    store: LayoutStore
    reference: Reference
    entry: Descriptor
    manifest: Manifest

    def file(self, path: str) -> Path | None:
        """Where the store has a file of the set."""
        layer = self.manifest.files().get(path)
        return self.store.blob_path(layer.digest) if layer else None


def examine(
    place: Path,
    catalog: Catalog,
    *,
    model: Reference | None = None,
    options: TrainOptions | None = None,
    dataset: str | None = None,
    output: Path | None = None,
) -> list[Check]:
    """Look at the machine, the store, and what of a planned run is given.

    Args:
        place: The store's directory.
        catalog: For the terms of the weights.
        model: The weight set to train from.
        options: Of the planned training; its dataset is checked.
        dataset: What the user calls it: that may be a name in the store.
        output: Where the run's folder would be made.
    """
    from xttsreg.training import preflight_data, preflight_machine, preflight_plan

    checks = preflight_machine.examine_machine(options)
    checks += guarded("store", lambda: _examine_store(place))
    subject: Subject | None = None
    if model is not None:
        found, subject = _examine_model(place, model, catalog)
        checks += found
    trains = not any(check.name == "training" and check.level != "ok" for check in checks)
    if subject is not None:
        whole = subject
        checks += guarded("contents", lambda: _check_contents(whole, with_torch=trains))
    if options is not None:
        checks += preflight_data.examine_dataset(place, dataset, options, subject, with_tts=trains)
    if subject is not None:
        plan = options or TrainOptions(dataset=Path())
        checks += guarded("disk", lambda: preflight_plan.check_disk(subject, plan, output))
        checks += guarded("gpu memory", lambda: preflight_plan.check_gpu_memory(subject, plan))
    return checks


def before_run(
    subject: Subject,
    options: TrainOptions,
    output: Path,
    note: Callable[[str], None],
    *,
    more_bytes: int = 0,
) -> None:
    """What a run asks beyond its dataset and weights, which it checks by itself.

    Args:
        subject: The weight set.
        options: Of the run.
        output: The run's folder.
        note: Told what is odd.
        more_bytes: What is written there besides checkpoints and the voice.

    Raises:
        XttsregError: the run would not get through.
    """
    from xttsreg.training import preflight_machine, preflight_plan
    from xttsreg.training.packages import require_language

    require_language(options.language)
    found = [
        *preflight_machine.check_pins(),
        *preflight_plan.check_disk(subject, options, output, more_bytes=more_bytes),
        *preflight_plan.check_gpu_memory(subject, options),
    ]
    for check in found:
        if check.level == "warn":
            note(f"{check.message}; {check.action}")


def _examine_store(place: Path) -> Checks:
    try:
        store = LayoutStore.open_existing(place)
    except StoreNotFound as error:  # a machine that is new is not broken
        yield warn("store", error.message, "xttsreg fetch, add and import make one")
        return
    tags = store.tags()
    names = ("1 name" if len(tags) == 1 else f"{len(tags)} names") + (
        f": {', '.join(list(tags)[:4])}" if tags else ""
    )
    if len(tags) > 4:
        names += " ..."
    if not tags:
        yield warn("store", f"{place} is empty", "xttsreg fetch xtts_v2, or xttsreg import STICK")
    elif not store.is_writable():
        yield warn("store", f"{names}; read-only", "voices cannot be registered here: --store DIR")
    else:
        yield ok("store", names)


def _examine_model(
    place: Path, model: Reference, catalog: Catalog
) -> tuple[list[Check], Subject | None]:
    try:
        store = LayoutStore.open_existing(place)
        entry = resolve(store, model)
        subject = Subject(store, model, entry, read_manifest(store, entry))
    except XttsregError as error:
        return [failed("weights", error)], None
    checks = guarded("weights", lambda: _check_files(subject))
    return checks + guarded("licence", lambda: _check_terms(subject, catalog)), subject


def _check_files(subject: Subject) -> Checks:
    require_model(subject.reference, subject.manifest)
    files = subject.manifest.files()
    missing = [name for name in TRAIN_FILES if name not in files]
    if missing:
        what = "an inference-only set" if set(INFER_FILES) <= set(files) else "incomplete"
        raise InvalidModel(
            f"{subject.reference}: {what}, training also needs {', '.join(missing)}",
            hint="train from its base, or `xttsreg fetch xtts_v2` for the full set",
        )
    bad = [path for path, layer in files.items() if not subject.store.has(layer)]
    if bad:
        raise IntegrityError(
            f"{subject.reference}: {', '.join(bad)} missing or damaged in {subject.store.root}",
            hint="fetch or import the set again: what is wrong is replaced",
        )
    size_gb = sum(layer.size_bytes for layer in files.values()) / 1e9
    yield ok("weights", f"{subject.reference}: {len(files)} files, {size_gb:.2f} GB, digests right")


@contextmanager
def view_of(subject: Subject, *names: str) -> Iterator[Path]:
    """A folder with links to some files of a set, under their names; errors name the set."""
    with tempfile.TemporaryDirectory(prefix="xttsreg-doctor-") as folder:
        view = Path(folder)
        for name in names:
            blob = subject.file(name)
            if blob is not None and blob.is_file():
                (view / name).symlink_to(blob)
        with named_as(str(subject.reference), view):
            yield view


def _check_contents(subject: Subject, *, with_torch: bool) -> Checks:
    """Whether the files are what their names say, and go together; a run proves much more."""
    if not all((subject.file(name) or Path()).is_file() for name in TRAIN_FILES):
        return  # which was said
    with view_of(subject, *TRAIN_FILES) as view:
        for name, kinds in _KINDS.items():
            summary = require_safe(view / name)
            if summary.kind not in kinds:
                what = summary.problem or f"of the kind {summary.kind}"
                raise InvalidModel(
                    f"{view / name} is {what}, not {kinds[0]}", hint="xttsreg fetch xtts_v2"
                )
        if with_torch:
            from xttsreg.training.construct import check_fit

            check_fit(view)
    yield ok("contents", f"{', '.join(TRAIN_FILES)} are what they are called, and go together")


def _check_terms(subject: Subject, catalog: Catalog) -> Checks:
    manifest = subject.manifest
    if not licensing.is_required(manifest):
        yield ok("licence", "no acceptance needed")
        return
    found = licensing.find_acceptance(subject.store, subject.entry, manifest)
    terms = licensing.terms_for(str(subject.reference), manifest, catalog)
    if found:
        yield ok("licence", f"{terms.license_name}, accepted by {found.by} at {found.at}")
    else:
        action = "read it, then give --accept-license to train"
        yield warn("licence", f"{terms.license_name} has not been accepted yet", action)
