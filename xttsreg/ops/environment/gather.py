"""The files of an environment: downloaded by pip, and built where there is only source."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from xttsreg import places
from xttsreg.content.digest import Digest
from xttsreg.content.environment import Target, Wheel
from xttsreg.content.lock import Locked
from xttsreg.content.stream import digest_stream
from xttsreg.errors import InvalidInputError, RemoteError
from xttsreg.ops.environment.repack import repack
from xttsreg.ops.environment.resolve import Pin
from xttsreg.ops.environment.tools import Tools
from xttsreg.ops.parallel import Cancel, in_parallel
from xttsreg.ops.progress import Progress
from xttsreg.stores.durable import disk_errors

_BATCH = 8
"""Packages that one pip brings. It moves its files when all are there, so: not too many."""
_TRIES = 3
_NATIVE_LINUX = re.compile(r"-linux_[a-z0-9_]+\.whl$")


def gather(
    tools: Tools, pins: Sequence[Pin], target: Target, work: Path, progress: Progress
) -> list[Locked]:
    """Bring one wheel for every pin into ``work/wheels``.

    What is there already, from a run that was interrupted, is not downloaded again.

    Raises:
        RemoteError: a download or build failed.
        InvalidInputError: a package has only source that cannot be built for the target here.
    """
    downloads, wheels = work / "downloads", work / "wheels"
    with disk_errors(work):
        for directory in (downloads, wheels):
            directory.mkdir(parents=True, exist_ok=True)
    download(tools, pins, target, downloads, progress)
    by_digest = {digest: pin for pin in pins for digest in pin.hashes}
    found: list[Locked] = []
    for path in sorted(path for path in downloads.iterdir() if path.is_file()):
        digest, size_bytes = _digest(path)
        if digest not in by_digest:
            continue  # of an interrupted run that wanted another version
        if path.suffix == ".whl":
            found.append(Locked(Wheel(path.name, digest, size_bytes)))
            path.replace(wheels / path.name)
        else:
            found.append(_build(tools, by_digest[digest], path, digest, target, wheels, progress))
    return found


def download(
    tools: Tools, pins: Sequence[Pin], target: Target, directory: Path, progress: Progress
) -> None:
    """Bring a file for each pin, a wheel if there is one for the target.

    Raises:
        RemoteError: pip gave up.
    """
    there = {_digest(path)[0] for path in directory.iterdir() if path.is_file()}
    missing = [pin for pin in pins if there.isdisjoint(pin.hashes)]
    batches = [missing[start : start + _BATCH] for start in range(0, len(missing), _BATCH)]
    tags = [flag for tag in target.platforms() for flag in ("--platform", tag)]
    tags += ["--python-version", target.python, "--implementation", "cp"]
    tags += [flag for abi in (target.interpreter, "abi3", "none") for flag in ("--abi", abi)]

    def bring(batch: Sequence[Pin], cancel: Cancel) -> None:
        with _scratch(directory, batch[0].name) as scratch:
            wanted = scratch / "wanted.txt"
            wanted.write_text("".join(pin.line for pin in batch), "utf-8")
            command = ["download", "--no-deps", "--require-hashes", "-r", str(wanted),
                       "--dest", str(scratch / "got"), *tags]  # fmt: skip
            for tries_left in range(_TRIES - 1, -1, -1):
                try:
                    tools.run_pip(*command, temporary=scratch)
                    break
                except RemoteError:
                    if not tries_left:
                        raise
                    cancel.sleep(2)
            for path in (scratch / "got").iterdir():
                path.replace(directory / path.name)
        cancel.watch(lambda _: None)(0)

    if missing:
        progress.note(f"environment: downloading {len(missing)} of {len(pins)} packages")
        with disk_errors(directory):
            in_parallel(bring, batches, threads=4)


class _scratch:  # noqa: N801
    """A folder of its own for one pip, beside what it brings; gone afterwards."""

    def __init__(self, directory: Path, name: str) -> None:
        self._path = directory / f"{name}.tmp"

    def __enter__(self) -> Path:
        shutil.rmtree(self._path, ignore_errors=True)
        (self._path / "got").mkdir(parents=True)
        return self._path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


def _build(
    tools: Tools, pin: Pin, source: Path, digest: Digest, target: Target, wheels: Path,
    progress: Progress,
) -> Locked:  # fmt: skip
    """Build a wheel from source, and write it in its one form."""
    out = source.with_name(f"{source.name}.built")
    shutil.rmtree(out, ignore_errors=True)
    command = ["build", "--quiet", "--wheel", str(source), "--out-dir", str(out),
               "--build-constraint", str(places.builtin("constraints") / "build.txt")]  # fmt: skip
    try:
        tools.run_uv(*command, *_interpreter(tools, target))
    except RemoteError as error:
        raise RemoteError(
            f"{pin.name} {pin.version} has only source for {target.platform}, and it does not "
            f"build here: {error.message}",
            hint="bundle on such a machine, or give your pip an index that has a wheel of it",
        ) from error
    (made,) = out.glob("*.whl")
    _require_fit(pin, made.name, target)
    repack(made, wheels / made.name)
    shutil.rmtree(out)
    digest_of_wheel, size_bytes = _digest(wheels / made.name)
    progress.note(f"environment: {pin.name} {pin.version} has only source, built {made.name}")
    return Locked(Wheel(made.name, digest_of_wheel, size_bytes), digest)


def _interpreter(tools: Tools, target: Target) -> list[str]:
    """The target's Python if this machine has it; for pure Python any will do."""
    try:
        tools.run_uv("python", "find", "--quiet", target.python)
    except RemoteError:
        return []
    return ["--python", target.python]


def _require_fit(pin: Pin, built: str, target: Target) -> None:
    """Refuse a wheel that was built here and does not run on the target.

    ``linux_x86_64`` says nothing of the C library: then this machine's must not be newer.
    """
    fits = target.takes(built)
    if fits and _NATIVE_LINUX.search(built):
        library, version = platform.libc_ver()
        limit = re.match(r"manylinux_2_(\d+)_", target.platform)
        own = re.match(r"2\.(\d+)", version)
        fits = bool(library == "glibc" and own and limit and int(own[1]) <= int(limit[1]))
    if not fits:
        raise InvalidInputError(
            f"{pin.name} {pin.version} has only source for {target.platform}, and what is built "
            f"here is {built}",
            hint=f"bundle on a machine with {target.platform} and Python {target.python}, or give "
            "your pip an index that has a wheel of it",
        )


def _digest(path: Path) -> tuple[Digest, int]:
    with path.open("rb", buffering=0) as file:
        return digest_stream(file)


def pins_of(packages: Iterable[Locked]) -> list[Pin]:
    """What to download for a lock: the wheels themselves, or the sources of those that were built.

    >>> pins_of([])
    []
    """
    return [
        Pin(package.name, package.version, frozenset({package.source or package.wheel.digest}))
        for package in packages
    ]
