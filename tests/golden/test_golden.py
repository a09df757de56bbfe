"""What earlier versions wrote is read for ever; what a later one writes is refused, in a word."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile.forge import Forger
from support import damage, filled_store, make_small_set, run_cli, tree
from support.ssh import allow, make_key, needs_ssh

from golden.make import ENVIRONMENT, FOREIGN, WEIGHTS, WHEN, main, manifests
from xttsreg.content.inventory import Inventory
from xttsreg.content.manifest import Manifest
from xttsreg.ops.licensing import find_acceptance
from xttsreg.stores.layout import LayoutStore

HERE = Path(__file__).parent
VERSIONS = sorted(path for path in HERE.iterdir() if path.name[0].isdigit())
NEWEST = VERSIONS[-1]
# Written down here, so that no mistake in both writing and reading can go unseen.
NAMES = {
    "0.1": {
        "clips:v1": "sha256:d32fed7926236473b8d53c72da47e07705c176f9b723dd5a749426d4906955c5",
        ENVIRONMENT: "sha256:39b4be820daf07b4bcdc83ec5ee66717ac94158f73bee132ea6208fa86a030ef",
        "me:v1": "sha256:81d28d298cdda73f02eb362fef8e47424818489a8cfa6fc686197adf3d901d48",
        "small:main": "sha256:3608872d64d7fc276ec3484f27ac0929e35ca119f7326a23745183816347cfb3",
    }
}
GLOBALS = ["--allow-globals", FOREIGN]


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def version(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy, as somebody would have it on a disk."""
    return copied(request.param, tmp_path)


@pytest.fixture
def newest(tmp_path: Path) -> Path:
    return copied(NEWEST, tmp_path)


def copied(version: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(version, tmp_path / version.name))
    (copy / "home").mkdir()
    (copy / "store").rename(copy / "home" / "store")
    return copy


def names(store: LayoutStore) -> dict[str, str]:
    return {tag: str(entry.digest) for tag, entry in store.tags().items()}


def test_an_old_store_is_used(version: Path) -> None:
    """Read, verified, shown, checked out, cleaned, written to: as if it had been made today."""
    home = version / "home"
    store = LayoutStore.open_existing(home / "store")
    assert names(store) == NAMES[version.name]
    before = tree(store.root)
    verified = run_cli(["verify", "--no-cache", "--json"], home)
    assert verified.code == 0, verified.stderr
    for tag, manifest in manifests(store).items():
        assert Manifest.parse(manifest.to_bytes()).describe().digest == NAMES[version.name][tag]
        assert run_cli(["inspect", tag, "--json"], home).code == 0
        done = run_cli(["checkout", tag, version / "out"], home)
        assert done.code == 0, done.stderr
        shutil.rmtree(version / "out")
    entry = store.tags()[WEIGHTS]
    accepted = find_acceptance(store, entry, manifests(store)[WEIGHTS])
    assert accepted is not None
    assert (accepted.by, accepted.at) == ("somebody", WHEN)
    assert run_cli(["gc", "--yes"], home).code == 0
    assert tree(store.root) == before
    filled_store(store.root, make_small_set(version / "weights"))
    assert names(store).keys() == {*NAMES[version.name], "own:v1"}
    assert run_cli(["verify", "--no-cache"], home).code == 0


def test_an_old_store_that_rots_is_mended_from_an_old_bundle(version: Path) -> None:
    home = version / "home"
    blobs = sorted((home / "store" / "blobs" / "sha256").iterdir())
    for path in (*blobs[::3], home / "store" / "index.json"):
        damage(path)
    done = run_cli(["verify", "--no-cache", "--repair", "--from", version / "stick"], home)
    assert done.code == 0, done.stderr
    assert names(LayoutStore.open_existing(home / "store")) == NAMES[version.name]


def test_an_old_bundle_is_imported(version: Path) -> None:
    fresh, home = version / "fresh", version / "home"
    refused = run_cli(["import", version / "stick"], fresh)
    assert (refused.code, FOREIGN in refused.error) == (4, True)
    done = run_cli(["import", version / "stick", *GLOBALS], fresh)
    assert done.code == 0, done.stderr
    assert names(LayoutStore.open_existing(fresh / "store")) == NAMES[version.name]
    assert run_cli(["verify", "--no-cache"], fresh).code == 0
    before = tree(home / "store")
    assert run_cli(["import", version / "stick", *GLOBALS], home).code == 0
    added = tree(home / "store").keys() - before.keys()
    assert len(added) == 2  # who allowed what, here, for the set and the voice; nothing else


@needs_ssh
def test_an_old_signature_holds(version: Path) -> None:
    """Whoever trusted a stick then can do so now; and whoever trusts somebody else cannot."""
    signers, fresh = version / "allowed_signers", version / "fresh"
    trusted = ["import", version / "stick", *GLOBALS, "--trust"]
    other = allow(version / "others", somebody=make_key(version, "key"))
    assert run_cli([*trusted, other], fresh).code == 4
    done = run_cli([*trusted, signers], fresh)
    assert (done.code, "golden@example.org" in done.stderr) == (0, True), done.stderr


def test_an_old_sticks_own_installer_still_reads_it(version: Path) -> None:
    """Run as it lies there, in a Python that need not have anything."""
    done = subprocess.run(
        [sys.executable, "-I", version / "stick" / "install.py", "--dry-run",
         "--target", version / "venv"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert "00000000-0000-4000-8000-000000000001" in done.stderr
    fits = sys.version_info[:2] == (3, 11) and sys.platform == "linux"
    assert done.returncode == (0 if fits and platform.machine() == "x86_64" else 3), done.stderr


def test_an_old_inventory_is_read(version: Path) -> None:
    data = (version / "inventory.json").read_bytes()
    inventory = Inventory.parse(data)
    assert {named.ref: named.digest for named in inventory.refs} == NAMES[version.name]
    done = run_cli(["bundle", "--since", version / "inventory.json", "--thin", "--allow-unsigned",
                    "-o", version / "thin", *NAMES[version.name]], version / "home")  # fmt: skip
    assert done.code == 0, done.stderr


def test_what_is_written_today_is_among_them(tmp_path: Path) -> None:
    """If this fails, what is written has changed: keep what is here, and add what is new."""
    main(tmp_path / "today")
    for part in ("blobs", "index.json"):
        made, kept = (root / "store" / part for root in (tmp_path / "today", NEWEST))
        assert (tree(made) or made.read_text()) == (tree(kept) or kept.read_text())


# --- what a later version writes ----------------------------------------------------------------


def change(path: Path, **fields: object) -> None:
    value = json.loads(path.read_bytes())
    path.chmod(0o644)
    path.write_text(json.dumps({**value, **fields}))


def newer_store(newest: Path) -> list[object]:
    change(newest / "home" / "store" / "oci-layout", imageLayoutVersion="2.0.0")
    return ["ls"]


def newer_index(newest: Path) -> list[object]:
    change(newest / "home" / "store" / "index.json", schemaVersion=3, manifests="elsewhere")
    return ["ls"]


def newer_index_is_not_mended(newest: Path) -> list[object]:
    return [*newer_index(newest)[1:], "verify", "--repair"]


def newer_bundle(newest: Path) -> list[object]:
    forger = Forger(newest / "stick")
    forger.relist(format_version=3, refs="elsewhere")
    return ["import", newest / "stick", *GLOBALS]


def newer_manifest(newest: Path) -> list[object]:
    forger = Forger(newest / "stick")
    forger.set_manifest(lambda value: value.update(schemaVersion=3, layers="elsewhere")).done()
    return ["import", newest / "stick", *GLOBALS]


def newer_environment(newest: Path) -> list[object]:
    """The configuration of a manifest; what a store has is not looked into, but when it is used."""
    store = LayoutStore.open_existing(newest / "home" / "store")
    manifest = manifests(store)[ENVIRONMENT]
    config = store.put_bytes(manifest.config.media_type, b'{"format_version":2,"wheels":"new"}')
    changed = manifest.model_copy(update={"config": config})
    store.put_bytes(changed.media_type, changed.to_bytes())
    store.tag(ENVIRONMENT, changed.describe())
    return ["inspect", ENVIRONMENT]


def newer_inventory(newest: Path) -> list[object]:
    change(newest / "inventory.json", format_version=2, blobs="elsewhere")
    return ["bundle", "--since", newest / "inventory.json", "--allow-unsigned",
            "-o", newest / "thin", WEIGHTS]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (newer_store, "layout version '2.0.0', known is 1.0.0"),
        (newer_index, "schema version 3, this xttsreg reads 2"),
        (newer_index_is_not_mended, "schema version 3, this xttsreg reads 2"),
        (newer_bundle, "format version 3, this xttsreg reads 2"),
        (newer_manifest, "schema version 3, this xttsreg reads 2"),
        (newer_environment, "format version 2, known is 1"),
        (newer_inventory, "format version 2, this xttsreg reads 1"),
    ],
)
def test_a_newer_one_is_refused(make: Callable[[Path], list[Any]], word: str, newest: Path) -> None:
    arguments = make(newest)
    before = tree(newest)
    done = run_cli(arguments, newest / "home")
    assert (done.code, word in done.error) == (2, True), done.stderr
    assert "newer" in done.hint
    assert tree(newest) == before
