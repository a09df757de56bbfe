"""What rots is named by verify, mended from another copy, and never trained on."""

from __future__ import annotations

import http.server
import os
import random
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support import (
    REPO,
    REVISION,
    catalog_for,
    filled_store,
    make_small_set,
    never_ask,
    run_cli,
)
from support.registry import Registry, needs_registry
from support.serving import Served

from fault.conftest import Sample
from fault.tally import TALLY
from fault.world import problems
from xttsreg.catalog import Catalog
from xttsreg.content.reference import Reference
from xttsreg.demo.hub import Hub
from xttsreg.errors import XttsregError
from xttsreg.ops.bundle import bundle
from xttsreg.ops.fetch import fetch
from xttsreg.ops.views import checkout
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore

Rot = Callable[[Path, random.Random], None]


def _flip(path: Path, chance: random.Random) -> None:
    """One bit; times and size stay what they were, as on a medium that rots."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(status.st_mode)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _cut(path: Path, chance: random.Random) -> None:
    path.chmod(0o644)
    os.truncate(path, chance.randrange(path.stat().st_size))


def _extend(path: Path, chance: random.Random) -> None:
    path.chmod(0o644)
    with path.open("ab") as file:
        file.write(b"\0" * chance.randrange(1, 100))


def _swap(path: Path, chance: random.Random) -> None:
    other = chance.choice([p for p in sorted(path.parent.iterdir()) if p != path and p.is_file()])
    path.unlink()
    shutil.copy(other, path)


def _replaced(make: Callable[[Path], object]) -> Rot:
    def rot(path: Path, chance: random.Random) -> None:
        path.unlink()
        make(path)

    return rot


def _full_directory(path: Path) -> None:
    path.mkdir()
    (path / "file").write_bytes(b"x")


ROTS: dict[str, Rot] = {
    "one bit": _flip,
    "cut off": _cut,
    "extended": _extend,
    "another blob's bytes": _swap,
    "gone": _replaced(lambda path: None),
    "a directory": _replaced(_full_directory),
    "a pipe": _replaced(os.mkfifo),
    "a link out of the store": _replaced(lambda path: path.symlink_to("/etc/hostname")),
    "a link to nothing": _replaced(lambda path: path.symlink_to("/nowhere/at/all")),
}


@pytest.mark.parametrize("kind", ROTS)
def test_every_blob(kind: str, tmp_path: Path, seed: int, sample: Sample[str]) -> None:
    weights = make_small_set(tmp_path / "weights")
    store = filled_store(tmp_path / "home" / "store", weights)
    copy = shutil.copytree(store.root, tmp_path / "copy")
    bundle(store, store.tags(), tmp_path / "stick")
    entry = store.tags()["own:v1"]
    config = read_manifest(store, entry).config.digest.hex
    chance = random.Random(f"{seed} {kind}")
    names = sorted(path.name for path in (store.root / "blobs" / "sha256").iterdir())
    chosen = sample(names, 3)
    for number, name in enumerate(chosen):
        place = (copy, tmp_path / "stick")[number % 2]
        ROTS[kind](store.root / "blobs" / "sha256" / name, chance)
        found = run_cli(["verify", "--no-cache", "--json"], tmp_path / "home", timeout_s=20)
        assert (found.code, name in found.stdout) == (4, True), found.stderr
        if name != config:  # which a view does not need
            with pytest.raises(XttsregError):  # as `train` and `exec` do it, before anything else
                checkout(
                    LayoutStore(store.root), entry, tmp_path / "view",
                    hardlink=True, use_cache=False,
                )  # fmt: skip
            assert not (tmp_path / "view").exists()
        mended = run_cli(
            ["verify", "--no-cache", "--repair", "--from", place], tmp_path / "home", timeout_s=20
        )
        assert mended.code == 0, mended.stderr
        assert problems(LayoutStore(store.root)) == []
    TALLY.add("rot", kind, tried=len(chosen), lost=0)


def test_from_plain_files_and_what_nobody_has(tmp_path: Path) -> None:
    """A folder with the files mends the files; what only a store has stays, and is named."""
    weights = make_small_set(tmp_path / "weights")
    store = filled_store(tmp_path / "home" / "store", weights)
    for path in (store.root / "blobs" / "sha256").iterdir():
        if path.stat().st_size > 2500:
            _cut(path, random.Random(1))
    (weights / "vocab.json").write_bytes(b"x" * 3000)  # the right size, other bytes
    done = run_cli(["verify", "--repair", "--from", weights], tmp_path / "home")
    assert done.code == 4
    assert "vocab.json" in done.error
    assert len(problems(LayoutStore(store.root))) == 1
    shutil.copy(make_small_set(tmp_path / "again") / "vocab.json", weights / "vocab.json")
    assert run_cli(["verify", "--repair", "--from", weights], tmp_path / "home").code == 0


@pytest.mark.parametrize("kind", ROTS)
def test_the_index(kind: str, tmp_path: Path, seed: int) -> None:
    """The names are nowhere else, but that the store keeps them twice."""
    home = tmp_path / "home"
    store = filled_store(home / "store", make_small_set(tmp_path / "weights"))
    store.tag("own:copy", store.tags()["own:v1"])
    before, chance = store.index(), random.Random(f"{seed} {kind}")
    for _ in range(2 if kind == "one bit" else 1):
        ROTS[kind](store.root / "index.json", chance)
        found = run_cli(["verify", "--json"], home)
        assert (found.code, '"what": "index.json"' in found.stdout) == (4, True), found.stderr
        if kind in ("gone", "a directory"):  # not an empty store, of which gc removes all
            assert run_cli(["gc", "--yes"], home).code in (4, 5)
        assert run_cli(["verify", "--repair"], home).code == 0
        assert (store.index(), problems(store)) == (before, [])
    TALLY.add("rot of the index", kind, tried=1, lost=0)


def test_the_index_and_its_second_copy(tmp_path: Path) -> None:
    """Names come back from another copy; what has none there is found under one that is made up."""
    home = tmp_path / "home"
    store = filled_store(home / "store", make_small_set(tmp_path / "weights"))
    bundle(store, store.tags(), tmp_path / "stick")
    other = filled_store(store.root, make_small_set(tmp_path / "w", seed=3), ref="mine:v1")
    before = other.tags()
    for name in ("index.json", ".xttsreg/names"):
        (store.root / name).write_bytes(b"{")
    assert run_cli(["ls"], home).code == 2
    mended = run_cli(["verify", "--repair", "--from", tmp_path / "stick"], home)
    lost = f"recovered:{before['mine:v1'].digest.hex[:12]}"
    assert (mended.code, lost in mended.stderr) == (0, True), mended.stderr
    assert {t: e.digest for t, e in store.tags().items()} == {
        "own:v1": before["own:v1"].digest, lost: before["mine:v1"].digest
    }  # fmt: skip
    assert run_cli(["gc", "--yes"], home).code == 0
    assert problems(store) == []


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


def _spoil(store: LayoutStore) -> int:
    for path in sorted((store.root / "blobs" / "sha256").iterdir()):
        _cut(path, random.Random(1))
    return len(problems(store))


def test_from_far_away(tmp_path: Path) -> None:
    """A stick behind a web server, the pinned sources of a set, and a place that has nothing."""
    weights = make_small_set(tmp_path / "weights")
    store = LayoutStore.create(tmp_path / "home" / "store")
    with Hub(weights, repo=REPO, revision=REVISION) as hub:
        catalog = catalog_for(tmp_path / "catalog", weights, hub.url)
        item = Catalog.load(catalog).get(Reference.parse("small"))
        fetch(store, item, ask=never_ask)
        bundle(store, store.tags(), tmp_path / "stick")
        assert _spoil(store) == 1  # the manifest, behind which nothing can be seen
        done = run_cli(
            ["verify", "--repair", "--from", "small", "--catalog", catalog], tmp_path / "home"
        )
        assert (done.code, problems(store)) == (0, []), done.stderr
    assert _spoil(store)
    serve = partial(_Files, directory=str(tmp_path / "stick"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        nothing = run_cli(["verify", "--repair", "--from", f"{url}/x"], tmp_path / "home")
        assert (nothing.code, nothing.error[:13]) == (4, "1 of 1 blobs ")
        done = run_cli(["verify", "--repair", "--from", url], tmp_path / "home")
        assert (done.code, problems(store)) == (0, []), done.stderr
        server.shutdown()


@needs_registry
def test_from_a_registry(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "home" / "store", make_small_set(tmp_path / "weights"))
    with Registry(tmp_path / "registry") as registry:
        place = f"{registry.host}/team/own"
        assert run_cli(["push", "own:v1", f"{place}:v1"], tmp_path / "home").code == 0
        assert _spoil(store)
        done = run_cli(["verify", "--repair", "--from", place], tmp_path / "home")
        assert (done.code, problems(store)) == (0, []), done.stderr


def test_from_a_machine_that_serves_its_store(tmp_path: Path) -> None:
    """`xttsreg serve` speaks as a registry: a neighbour's store mends this one."""
    weights = make_small_set(tmp_path / "weights")
    filled_store(tmp_path / "other" / "store", weights)
    store = filled_store(tmp_path / "home" / "store", weights)
    assert _spoil(store)
    with Served(tmp_path / "other") as server:
        place = f"{server.host}/own"
        done = run_cli(["verify", "--repair", "--from", place], tmp_path / "home")
    assert (done.code, problems(store)) == (0, []), done.stderr


def test_places_that_are_none(tmp_path: Path) -> None:
    filled_store(tmp_path / "home" / "store", make_small_set(tmp_path / "weights"))
    assert run_cli(["verify", "--from", "."], tmp_path / "home").code == 2
    assert run_cli(["verify", "--repair", "--from", "/nowhere"], tmp_path / "home").code == 2
    assert run_cli(["verify", "--repair"], tmp_path / "home").code == 0
