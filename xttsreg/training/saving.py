"""Checkpoint files: whole or not at all, once on the disk, the newest few."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from xttsreg.errors import InsufficientSpace
from xttsreg.stores import durable, links

BEST_NAME = "best_model.pth"
_NUMBERED = re.compile(r"(checkpoint|best_model)_(\d+)\.pth")
_RESERVE_BYTES = 1 << 20  # for what the format adds to the tensors, and for the run's small files


def checkpoints(directory: Path) -> list[Path]:
    """Return the checkpoints of a run, the furthest first."""
    found = []
    for path in directory.iterdir():
        match = _NUMBERED.fullmatch(path.name)
        if match and path.is_file():
            # after the same step the best model was saved later, behind the evaluation
            found.append((int(match[2]), match[1] == "best_model", path))
    return [path for _, _, path in sorted(found, reverse=True)]


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint in the format of ``torch.save``; it appears complete, or not at all.

    Raises:
        InsufficientSpace: the disk cannot hold it; nothing that was there is touched.
        StoreError: the disk refuses in another way.
    """
    import torch

    needed = sum(_sizes(state)) + _RESERVE_BYTES
    partial = path.with_name(f".{path.name}.partial")
    try:
        with durable.disk_errors(path, needed), partial.open("wb") as file:
            _require_space(path, needed)
            stream = _Stream(file)
            torch.save(state, stream)
            stream.finish()
            durable.sync_file(file)
        partial.replace(path)
        durable.sync_directory(path.parent)
    except InsufficientSpace as error:
        raise InsufficientSpace(
            str(path),
            needed_bytes=error.needed_bytes,
            free_bytes=error.free_bytes,
            hint="checkpoints saved before are intact: free some space, then "
            f"`xttsreg train --resume {path.parent}`",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def share(path: Path, name: str) -> None:
    """Give a checkpoint a second name without a second copy of its bytes, where that can be."""
    target = path.with_name(name)
    partial = path.with_name(f".{name}.partial")
    partial.unlink(missing_ok=True)
    try:
        try:
            os.link(path, partial)
        except OSError:  # e.g. exFAT
            if not links.reflink(path, partial):
                with durable.disk_errors(path, path.stat().st_size):
                    shutil.copyfile(path, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def keep_newest(directory: Path, kind: str, count: int) -> None:
    """Remove all checkpoints of a kind, ``checkpoint`` or ``best_model``, but the newest."""
    of_kind = [path for path in checkpoints(directory) if path.name.startswith(f"{kind}_")]
    for path in of_kind[count:]:
        path.unlink()


def set_aside(directory: Path, unusable: Iterable[Path]) -> None:
    """Take checkpoints out of the count by another name; the best model is what is left of it.

    What a killed process was writing goes, too.
    """
    for partial in directory.glob(".*.pth.partial"):
        partial.unlink()
    for path in unusable:
        path.replace(path.with_name(f"{path.name}.unusable"))
    bests = [path for path in checkpoints(directory) if path.name.startswith("best_model_")]
    if bests:
        share(bests[0], BEST_NAME)
    else:
        (directory / BEST_NAME).unlink(missing_ok=True)


class _Stream:
    """Remembers the first error of the disk: torch would hide it behind one of its own format."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        if self._error is None:
            try:
                return self._file.write(data)
            except OSError as error:
                self._error = error
        return len(memoryview(data).cast("B"))

    def flush(self) -> None:
        if self._error is None:
            try:
                self._file.flush()
            except OSError as error:
                self._error = error

    def finish(self) -> None:
        self.flush()
        if self._error is not None:
            raise self._error


def _sizes(value: Any) -> Iterator[int]:
    """Yield the bytes of every tensor in a nested state."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _sizes(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _sizes(inner)
    elif hasattr(value, "nbytes"):
        yield int(value.nbytes)


def _require_space(path: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(path.parent).free
    if free_bytes < needed_bytes:
        raise InsufficientSpace(str(path), needed_bytes=needed_bytes, free_bytes=free_bytes)
