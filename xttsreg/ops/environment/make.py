"""From a recipe's environment to an artifact in the store, and its lock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xttsreg.content.descriptor import Descriptor
from xttsreg.content.environment import (
    CONFIG_TYPE,
    LOCK_TYPE,
    EnvironmentConfig,
    Target,
    Wheel,
    build_environment,
)
from xttsreg.content.lock import Lock, Locked
from xttsreg.content.manifest import MANIFEST_TYPE
from xttsreg.content.stream import digest_stream
from xttsreg.errors import DigestMismatch, InvalidRecipe, XttsregError
from xttsreg.ops.environment.gather import gather, pins_of
from xttsreg.ops.environment.own import own_wheel, require_extras
from xttsreg.ops.environment.resolve import resolve
from xttsreg.ops.environment.tools import Tools
from xttsreg.ops.progress import QUIET, Progress
from xttsreg.ops.recipe import EnvironmentRecipe
from xttsreg.stores import durable
from xttsreg.stores.layout import LayoutStore

OWN = "xttsreg"


@dataclass(frozen=True, slots=True)
class Made:
    """An environment in the store.

    Attributes:
        tagged: Its name there.
        manifest: What it points at.
        lock: What was locked.
    """

    tagged: str
    manifest: Descriptor
    lock: Lock


def make_environment(
    store: LayoutStore,
    recipe: EnvironmentRecipe,
    *,
    lock: Lock | None = None,
    progress: Progress = QUIET,
) -> Made:
    """Put an environment into the store: from its lock, or resolved now.

    The wheel of xttsreg itself is always that of the running code, since it must read the bundle
    that it writes. Everything else of a lock is taken by its digest: the same lock gives the same
    manifest.

    Args:
        store: Where to.
        recipe: For which machines, with which extras.
        lock: From an earlier run.
        progress: Watches.

    Raises:
        MissingDependency: uv or pip is not here.
        InvalidRecipe: the lock is for other machines; an extra is unknown.
        InvalidInputError: a package cannot be built here for the target.
        RemoteError: the index.
        DigestMismatch: what is built from a locked source is another wheel.
    """
    if lock:
        _require_same(recipe, lock)
    tools = Tools.find()
    with store.writing(), _work(store, recipe) as work:
        own = own_wheel(tools, work)
        require_extras(own, recipe.extras)
        if lock:
            found = _from_lock(tools, store, lock, recipe.target, work, progress)
        else:
            pins = resolve(tools, own, recipe.extras, recipe.target, work)
            found = gather(tools, pins, recipe.target, work, progress)
        found = [*found, _locked(own)]
        made = Lock.of(
            python=recipe.python, platform=recipe.platform, extras=recipe.extras,
            cuda=recipe.cuda, packages=found,
        )  # fmt: skip
        own.replace(work / "wheels" / own.name)
        _take(store, made.packages, work / "wheels", progress)
        return _record(store, made)


def provide_environment(
    store: LayoutStore,
    recipe: EnvironmentRecipe,
    *,
    recipe_directory: Path,
    output: Path,
    progress: Progress = QUIET,
) -> Made:
    """`make_environment` with the lock where people look for it.

    The recipe's lock is used if it is there, and written if it is not. A recipe that names none is
    resolved anew each time; its lock is written beside the output, for the next one to name.

    Args:
        store: Where to.
        recipe: For which machines.
        recipe_directory: What the recipe's ``lock`` is relative to.
        output: The bundle's directory.
        progress: Watches.

    Raises:
        XttsregError: as `make_environment`.
    """
    beside = output.resolve().with_name(f"{output.resolve().name}.{_slug(recipe)}.lock.txt")
    path = recipe_directory / recipe.lock if recipe.lock else beside
    locked = Lock.load(path) if recipe.lock and path.exists() else None
    made = make_environment(store, recipe, lock=locked, progress=progress)
    if locked != made.lock:
        _write_lock(path, made, named=bool(recipe.lock), again=bool(locked), progress=progress)
    return made


def _slug(recipe: EnvironmentRecipe) -> str:
    return recipe.tagged.partition(":")[2]


def _write_lock(path: Path, made: Made, *, named: bool, again: bool, progress: Progress) -> None:
    try:
        with durable.disk_errors(path):
            durable.make_directory(path.parent)
            durable.write_atomic(
                path, made.lock.to_bytes(), temporary=path.with_name(f".{path.name}.tmp")
            )
    except XttsregError as error:
        if named:
            raise
        # Beside a stick's root there may be no room for a file, and the bundle has it anyway.
        progress.note(f"the lock could not be written ({error.message}); it is requirements.txt in "
                      f"{made.tagged}")  # fmt: skip
        return
    word = "xttsreg itself has changed since" if again else "its lock is"
    progress.note(f"{made.tagged}: {word} {path}")


def _require_same(recipe: EnvironmentRecipe, lock: Lock) -> None:
    wanted = (recipe.python, recipe.platform, tuple(sorted(set(recipe.extras))), recipe.cuda)
    config = lock.config
    if wanted != (config.python, config.platform, config.extras, config.cuda):
        raise InvalidRecipe(
            f"the lock is of {config.tagged}, the recipe wants {recipe.tagged}",
            hint="remove the lock, and it is made anew",
        )


@contextlib.contextmanager
def _work(store: LayoutStore, recipe: EnvironmentRecipe) -> Iterator[Path]:
    """A folder in the store's filesystem; it stays after a failure, and a repetition goes on."""
    work = store.state / "environments" / _slug(recipe)
    with durable.disk_errors(work):
        durable.make_directory(work / "wheels")
    yield work
    durable.remove_tree(work)


def _from_lock(
    tools: Tools, store: LayoutStore, lock: Lock, target: Target, work: Path, progress: Progress
) -> list[Locked]:
    packages = [package for package in lock.packages if package.name != OWN]
    absent = [package for package in packages if not store.has(package.wheel.layer)]
    gathered = {item.name: item for item in
                gather(tools, pins_of(absent), target, work, progress)}  # fmt: skip
    for package in absent:
        got = gathered.get(package.name)
        if got is None or got.wheel.digest != package.wheel.digest:
            raise DigestMismatch(
                package.wheel.file,
                expected=package.wheel.digest,
                actual=got.wheel.digest if got else "nothing",
                hint="built by other tools than when the lock was made; remove the lock to make "
                "it anew, or import a bundle that has this wheel",
            )
    return packages


def _locked(wheel: Path) -> Locked:
    with wheel.open("rb", buffering=0) as file:
        digest, size_bytes = digest_stream(file)
    return Locked(Wheel(wheel.name, digest, size_bytes))


def _take(store: LayoutStore, packages: Sequence[Locked], wheels: Path, progress: Progress) -> None:
    for package in packages:
        layer = package.wheel.layer
        if not store.has(layer):
            with progress.task(package.wheel.file, layer.size_bytes) as advance:
                path = wheels / package.wheel.file
                store.stage_file(layer, path, advance, hardlink=True)()


def _record(store: LayoutStore, lock: Lock) -> Made:
    data = lock.to_bytes()
    wheels = [package.wheel for package in lock.packages]
    entry = put_environment(store, lock.config, data, wheels)
    store.tag(lock.config.tagged, entry)
    return Made(lock.config.tagged, entry, lock)


def put_environment(
    store: LayoutStore, config: EnvironmentConfig, lock: bytes, wheels: Sequence[Wheel]
) -> Descriptor:
    """Put an environment of wheels that are in the store into it; no name means it yet."""
    described, manifest = build_environment(config, lock, wheels)
    store.put_bytes(LOCK_TYPE, lock)
    store.put_bytes(CONFIG_TYPE, described)
    store.put_bytes(MANIFEST_TYPE, manifest.to_bytes())
    return manifest.describe()
