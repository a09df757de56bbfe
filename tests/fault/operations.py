"""The operations that are broken on purpose. A new verb joins by one entry in `OPERATIONS`."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import blob_of, catalog_for, damage, filled_store, make_small_set
from support.registry import needs_registry

from fault.world import World
from xttsreg.cli import main
from xttsreg.content.reference import Reference
from xttsreg.errors import XttsregError
from xttsreg.ops.bundle import bundle, bundle_archive
from xttsreg.ops.lineage import Lineage, load_base, register_voice
from xttsreg.stores.layout import LayoutStore


@dataclass(frozen=True, slots=True)
class Shared:
    """What operations only read: made once for all, outside of every world.

    Attributes:
        weights: A set, the one that a hub serves and a catalogue pins.
        other: Another one, which has some files in common with it.
        catalog: Pins ``small``, with a licence that wants a yes.
        registry: ``host:port`` of an OCI registry that has ``team/more:v1``; empty without one.
    """

    weights: Path
    other: Path
    catalog: Path
    registry: str = ""


def make_shared(root: Path, hub_url: Callable[[Path], str]) -> Shared:
    """Make it. The address of the hub is known only when the files are there."""
    weights = make_small_set(root / "weights")
    other = make_small_set(root / "other", seed=2)
    shutil.copy(weights / "LICENSE.txt", other)
    shutil.copy(weights / "dvae.pth", other)
    catalog = catalog_for(root / "catalog", weights, hub_url(weights), required=True)
    return Shared(weights, other, catalog)


Prepare = Callable[[World, Shared], None]
Act = Callable[[World, Shared], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that users do.

    Attributes:
        name: For the table.
        prepare: Makes the world before it.
        act: Does it, in a process of its own; returns the exit code.
        changes: Tags that it may move or remove. All others must stay what they are.
        again: Exit codes of the second time that are right, if the first one was complete.
        needs_registry: Skipped where no registry is installed.
    """

    name: str
    prepare: Prepare
    act: Act
    changes: Sequence[str] = ()
    again: Sequence[int] = (0,)
    needs_registry: bool = False


def verb(*arguments: str) -> Act:
    """A command line; ``{weights}`` and the like stand for what is in the world."""

    def act(world: World, shared: Shared) -> int:
        places = {
            "weights": shared.weights, "other": shared.other, "catalog": shared.catalog,
            "out": world.out, "root": world.root, "registry": shared.registry,
        }  # fmt: skip
        return main([argument.format(**places) for argument in arguments])

    return act


def nothing(world: World, shared: Shared) -> None:
    """A machine that never had a store."""
    world.home.mkdir(parents=True)


def own(world: World, shared: Shared) -> None:
    """A store with one set, and a second name for it."""
    store = filled_store(world.store, shared.other)
    store.tag("own:copy", store.tags()["own:v1"])


def own_and_garbage(world: World, shared: Shared) -> None:
    """The same, with what `gc` is for: a set without a name, litter of processes that died."""
    own(world, shared)
    filled_store(world.store, shared.weights, ref="old:v1")
    store = LayoutStore.open_existing(world.store)
    store.untag("old:v1")
    data = b"nobody's" * 100
    store.put(blob_of(data), io.BytesIO(data))
    (store.state / "tmp" / "1-dead").mkdir(parents=True)
    (store.state / "tmp" / "1-dead" / "half").write_bytes(data)
    (store.state / "leases" / "1-dead.lock").write_bytes(b"")
    (store.state / "partial").mkdir(exist_ok=True)
    (store.state / "partial" / ("0" * 64)).write_bytes(data)


def function(work: Callable[[World, Shared], None]) -> Act:
    """Something that is no verb by itself; its errors are shown as the command line does."""

    def act(world: World, shared: Shared) -> int:
        try:
            work(world, shared)
        except XttsregError as error:
            sys.stderr.write(f"error: {error.message}\nnext: {error.hint}\n")
            return error.exit_code
        return 0

    return act


def _register(world: World, shared: Shared) -> None:
    """The end of `train`: what the trainer has written becomes a voice."""
    store = LayoutStore.open_existing(world.store)
    _, base = load_base(store, Reference.parse("own:v1"))
    voice = Reference.parse("me:v1")
    if voice.tagged in store.tags():
        return  # train looks for a free name then
    lineage = Lineage(
        dataset_digest="sha256:" + "0" * 64, config_path="training.json", created="2026-01-01",
        author="somebody",
    )  # fmt: skip
    register_voice(store, voice, world.root / "voice", lineage, base)


def _trained(world: World, shared: Shared) -> None:
    own(world, shared)
    voice = world.root / "voice"
    voice.mkdir()
    for name in ("vocab.json", "config.json", "LICENSE.txt"):
        shutil.copy(shared.other / name, voice)
    shutil.copy(shared.weights / "model.pth", voice)
    (voice / "training.json").write_text("{}")


def _blank(world: World, shared: Shared) -> None:
    own(world, shared)
    world.out.mkdir()


def _with_stick(world: World, shared: Shared) -> None:
    """A store with one set, and a stick that brings another one."""
    own(world, shared)
    sender = filled_store(world.root / "sender", shared.weights, ref="more:v1")
    bundle(sender, sender.tags(), world.out)
    shutil.rmtree(sender.root)


def _with_archive(world: World, shared: Shared) -> None:
    """The same, in one file."""
    own(world, shared)
    sender = filled_store(world.root / "sender", shared.weights, ref="more:v1")
    bundle_archive(sender, sender.tags(), world.out / "stick.tar")
    shutil.rmtree(sender.root)


def _with_voice(world: World, shared: Shared) -> None:
    _trained(world, shared)
    _register(world, shared)


def _rotten(world: World, shared: Shared) -> None:
    """A store of which three blobs are wrong, and a copy of it from before."""
    own(world, shared)
    shutil.copytree(world.store, world.root / "copy")
    blobs = sorted(
        (world.store / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size
    )
    damage(blobs[-1], 1000)
    damage(blobs[0], 0)
    blobs[-2].unlink()


def _without_index(world: World, shared: Shared) -> None:
    """A store whose index is cut off."""
    own(world, shared)
    index = world.store / "index.json"
    index.write_bytes(index.read_bytes()[:-9])


def _with_old_stick(world: World, shared: Shared) -> None:
    """A stick that has something else on it."""
    _with_stick(world, shared)


_FETCH = ("fetch", "small", "--catalog", "{catalog}", "--accept-license")
OPERATIONS = (
    Operation(name="fetch", prepare=own, act=verb(*_FETCH)),
    Operation(name="add, first", prepare=nothing, act=verb("add", "own:v1", "{weights}")),
    Operation(name="add", prepare=own, act=verb("add", "more:v1", "{weights}")),
    Operation(
        name="add --force", prepare=own, act=verb("add", "own:v1", "{weights}", "--force"),
        changes=["own:v1"],
    ),
    Operation(
        name="add --dataset", prepare=own, act=verb("add", "data:v1", "{weights}", "--dataset"),
    ),
    Operation(name="tag", prepare=own, act=verb("tag", "own:v1", "own:v2")),
    Operation(
        name="rm", prepare=own, act=verb("rm", "own:copy"), changes=["own:copy"], again=(0, 3)
    ),
    Operation(name="gc", prepare=own_and_garbage, act=verb("gc", "--yes")),
    Operation(name="verify", prepare=own, act=verb("verify", "--no-cache")),
    Operation(
        name="checkout", prepare=own, act=verb("checkout", "own:v1", "{out}/a/b"), again=(0, 2)
    ),
    Operation(
        name="checkout, links", prepare=_blank, again=(0, 2),
        act=verb("checkout", "own:v1", "{out}", "--hardlink"),
    ),
    Operation(
        name="bundle", prepare=_blank, act=verb("bundle", "own:v1", "-o", "{out}/stick")
    ),
    Operation(
        name="bundle, again", prepare=_with_old_stick,
        act=verb("bundle", "own:v1", "-o", "{out}"),
    ),
    Operation(name="import", prepare=_with_stick, act=verb("import", "{out}")),
    Operation(
        name="bundle --archive", prepare=_blank,
        act=verb("bundle", "own:v1", "--archive", "{out}/stick.tar"),
    ),
    Operation(name="import, archive", prepare=_with_archive, act=verb("import", "{out}/stick.tar")),
    Operation(name="register", prepare=_trained, act=function(_register)),
    Operation(
        name="export", prepare=_with_voice, act=verb("export", "me:v1", "{out}"), again=(0, 2)
    ),
    Operation(
        name="inventory", prepare=_blank, act=verb("inventory", "-o", "{out}/inventory.json")
    ),
    Operation(
        name="push", prepare=own, act=verb("push", "own:v1", "{registry}/team/own"),
        needs_registry=True,
    ),
    Operation(
        name="pull", prepare=own, act=verb("pull", "{registry}/team/more:v1", "more:v1"),
        needs_registry=True,
    ),
    Operation(
        name="repair", prepare=_rotten,
        act=verb("verify", "--no-cache", "--repair", "--from", "{root}/copy"),
    ),
    Operation(name="repair, index", prepare=_without_index, act=verb("verify", "--repair")),
)  # fmt: skip
EACH = pytest.mark.parametrize(
    "operation",
    [pytest.param(operation, id=operation.name, marks=needs_registry)
     if operation.needs_registry else pytest.param(operation, id=operation.name)
     for operation in OPERATIONS],
)  # fmt: skip
