"""A run as an artifact: what another machine needs to go on with it, and to see how it went."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xttsreg.catalog import Catalog
from xttsreg.content.artifacts import BASE, DATASET, RUN_TYPE
from xttsreg.content.descriptor import CREATED, Descriptor
from xttsreg.content.digest import Digest
from xttsreg.content.manifest import EMPTY_BYTES, EMPTY_TYPE, MANIFEST_TYPE, Manifest
from xttsreg.content.modelpack import LICENSE_FILE, LICENSE_TERMS, LICENSES, file_layer
from xttsreg.content.reference import Reference
from xttsreg.content.stream import digest_stream
from xttsreg.errors import IntegrityError, InvalidModel
from xttsreg.ops import licensing, lineage
from xttsreg.ops.naming import require_new_name, require_same_meaning
from xttsreg.ops.parallel import Cancel, in_parallel
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.stores.durable import disk_errors
from xttsreg.stores.layout import LayoutStore
from xttsreg.training import runs
from xttsreg.training.checkpoint import check_complete
from xttsreg.training.saving import checkpoints

_STATE = "io.xttsreg.run."
_OF_THIS_MACHINE = ("pid", "host")
_SPEAKER = "speaker"


@dataclass(frozen=True, slots=True)
class AddedRun:
    """What an add did.

    Attributes:
        tagged: The name in the store.
        manifest: What it points at.
        files: Names of the files that were taken.
        left: Checkpoints that were not, and why.
    """

    tagged: str
    manifest: Descriptor
    files: Sequence[str]
    left: Mapping[str, str]


def add_run(
    store: LayoutStore,
    reference: Reference,
    directory: Path,
    catalog: Catalog,
    *,
    force: bool = False,
    progress: Progress = QUIET,
) -> AddedRun:
    """Take a run in: its last and its best checkpoint, its record, and what it has told.

    Base and dataset are named by digest and not included. The base's terms hold for checkpoints
    too, and go along.

    Args:
        store: Where to; has the base.
        reference: What it will be called.
        directory: The run's folder.
        catalog: Its names are taken.
        force: Move the name if it means something else.
        progress: Watches.

    Raises:
        AlreadyExists: the name means something else.
        InvalidModel: no run, or it has no checkpoint that can be read.
        StoreLocked: a process is at it.
        TagNotFound: the base is not in this store.
    """
    require_new_name(reference, catalog)
    runs.read_record(directory)  # before a lock is put into what may be no run
    with runs.run_lock(directory):
        run = runs.read_run(directory)
        origin = run.record.get("origin") or {}
        if not {"model", "dataset"} <= set(origin):
            raise InvalidModel(f"{directory / runs.RECORD_NAME}: does not say what it trains from")
        _, base = lineage.load_base(store, Reference.parse(origin["model"]))
        record = _portable(run)
        kept, left = _choose(directory)
        paths = {path.name: path for path in [*kept, *_small(directory)]}
        speaker = speaker_in(directory, origin)
        if speaker:
            if not speaker.is_file():
                raise InvalidModel(
                    f"{speaker}: the run's clip of the speaker is gone",
                    hint="bring it back: the voice needs it when the run ends",
                )
            paths[_SPEAKER + speaker.suffix] = speaker
        manifest = _describe(run, base, paths, record, progress)
        entry = manifest.describe()
        if not force:
            require_same_meaning(store, reference, entry)
        _store(store, reference, manifest, paths, record, base, progress)
    return AddedRun(reference.tagged, entry, list(manifest.files()), left)


def speaker_in(directory: Path, origin: Mapping[str, Any]) -> Path | None:
    """The clip of the speaker that a run was given: the run's own copy, else where it was."""
    if not origin.get("speaker_wav"):
        return None
    recorded = Path(origin["speaker_wav"])
    own = directory / f"{_SPEAKER}{recorded.suffix}"
    return own if own.is_file() else recorded


def _portable(run: runs.Run) -> bytes:
    """The run's record, without what is true on this machine only."""
    content = {key: value for key, value in run.record.items() if key not in _OF_THIS_MACHINE}
    if run.state not in ("finished", "failed"):
        content["state"] = "interrupted"  # nobody is at it: the lock is ours
    return json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"


def _choose(directory: Path) -> tuple[list[Path], dict[str, str]]:
    """The furthest checkpoint and the best one, and those that are damaged."""
    kept: list[Path] = []
    left: dict[str, str] = {}
    wanted = {"last", "best"}
    for path in checkpoints(directory):
        kinds = {"last", "best"} if path.name.startswith("best_model_") else {"last"}
        if not kinds & wanted:
            continue
        try:
            check_complete(path)
        except IntegrityError as error:
            left[path.name] = error.message
            continue
        kept.append(path)
        wanted -= kinds
    if not kept:
        raise InvalidModel(
            f"{directory}: has no checkpoint yet that could be gone on from",
            hint="a run of which nothing is saved is begun anew just as well",
        )
    return kept, left


def _small(directory: Path) -> Iterator[Path]:
    """What a run has told: everything else at the top of its folder."""
    for path in sorted(directory.iterdir()):
        skipped = path.name.startswith(".") or path.suffix in (".pth", ".unusable")
        if path.is_file() and not skipped and path.name not in (runs.RECORD_NAME, LICENSE_FILE):
            yield path


def _describe(
    run: runs.Run,
    base: lineage.Base,
    paths: Mapping[str, Path],
    record: bytes,
    progress: Progress,
) -> Manifest:
    def layer(name: str, cancel: Cancel) -> Descriptor:
        path = paths[name]
        with (
            disk_errors(path),
            path.open("rb", buffering=0) as file,
            progress.task(f"hash {name}", path.stat().st_size) as advance,
        ):
            return file_layer(name, *digest_stream(file, cancel.watch(advance)))

    layers = in_parallel(layer, paths)
    layers.append(file_layer(runs.RECORD_NAME, Digest.of(record), len(record)))
    terms = base.manifest.files().get(LICENSE_FILE)
    if terms:
        layers.append(file_layer(LICENSE_FILE, terms.digest, terms.size_bytes))
    notes = {
        BASE: str(base.reference),
        DATASET: run.record["origin"]["dataset"],
        CREATED: _when(run.record),
        LICENSES: base.manifest.annotations.get(LICENSES, ""),
        LICENSE_TERMS: base.manifest.annotations.get(LICENSE_TERMS, ""),
        f"{_STATE}state": json.loads(record)["state"],
        f"{_STATE}step": str(run.step),
        f"{_STATE}epoch": str(run.epoch),
        f"{_STATE}voice": run.voice,
    }
    empty = Descriptor(
        media_type=EMPTY_TYPE, digest=Digest.of(EMPTY_BYTES), size_bytes=len(EMPTY_BYTES)
    )
    return Manifest(
        artifact_type=RUN_TYPE,
        config=empty,
        layers=tuple(sorted(layers, key=lambda each: each.file_path or "")),
        annotations={key: value for key, value in notes.items() if value},
    )


def _when(record: Mapping[str, Any]) -> str:
    resumed = record.get("resumed") or [record.get("started", "")]
    return str(record.get("finished") or resumed[-1])


def _store(
    store: LayoutStore,
    reference: Reference,
    manifest: Manifest,
    paths: Mapping[str, Path],
    record: bytes,
    base: lineage.Base,
    progress: Progress,
) -> None:
    entry, files = manifest.describe(), manifest.files()
    with store.writing():
        for name, path in paths.items():
            if not store.has(files[name]):
                with progress.task(name, files[name].size_bytes) as advance:
                    store.stage_file(files[name], path, advance)()
        store.put_bytes(files[runs.RECORD_NAME].media_type, record)
        store.put_bytes(EMPTY_TYPE, EMPTY_BYTES)
        store.put_bytes(MANIFEST_TYPE, manifest.to_bytes())
        store.tag(reference.tagged, entry)
        if base.acceptance:
            licensing.record(store, entry, manifest, base.acceptance)
