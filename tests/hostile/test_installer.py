"""`install.py` of a stick that was made to harm, run as users run it: nothing of it is believed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import filled_store, make_small_set, small_wheel, tree

from hostile.forge import FILE_PATH, Forger
from xttsreg.content.digest import Digest
from xttsreg.content.environment import (
    WHEEL_TYPE,
    EnvironmentConfig,
    Wheel,
)
from xttsreg.ops.bundle import bundle
from xttsreg.ops.environment.make import put_environment

DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stick with an environment for this Python, of wheels with nothing in them."""
    root = tmp_path_factory.mktemp("honest")
    store = filled_store(root / "store", make_small_set(root / "w", model_pth=3000, dvae_pth=500))
    python = "{}.{}".format(*sys.version_info[:2])
    platform = f"manylinux_2_17_{os.uname().machine}"
    wheels = {f"{name}-1-py3-none-any.whl": small_wheel(name) for name in ("pip", "xttsreg")}
    for data in wheels.values():
        store.put_bytes(WHEEL_TYPE, data)
    entry = put_environment(
        store, EnvironmentConfig(python=python, platform=platform), b"lock",
        [Wheel(file, Digest.of(data), len(data)) for file, data in wheels.items()],
    )  # fmt: skip
    store.tag("environment:core", entry)
    bundle(store, {"environment:core": store.tags()["environment:core"]}, root / "stick")
    return root / "stick"


@pytest.fixture
def stick(honest: Path, tmp_path: Path) -> Path:
    return shutil.copytree(honest, tmp_path / "stick")


def install(stick: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    target = stick.parent / "target"
    return subprocess.run(
        [sys.executable, "install.py", "--target", str(target), *arguments], cwd=stick,
        env={"PATH": "/usr/bin:/bin", "HOME": str(stick.parent)}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip


def _rename(path: str) -> Callable[[Forger], object]:
    def change(f: Forger) -> None:
        layer = next(l for l in f.manifest["layers"] if "xttsreg" in str(l))  # noqa: E741
        layer["annotations"][FILE_PATH] = path
        f.set_manifest(lambda m: None).done()

    return change


HOSTILE: dict[str, Callable[[Forger], object]] = {
    "a wheel above": _rename("../../evil-1-py3-none-any.whl"),
    "a wheel with an absolute name": _rename("/tmp/evil-1-py3-none-any.whl"),
    "a wheel on a drive": _rename("C:evil-1-py3-none-any.whl"),
    "a wheel that looks like an option": _rename("--index-url=http-1-py3-none-any.whl"),
    "a wheel with a line feed": _rename("a\nb-1-py3-none-any.whl"),
    "a wheel without a name": _rename(""),
    "a digest that is a path": lambda f: f.set_manifest(
        lambda m: m["layers"][0].update(digest="sha256:../../../etc/passwd")
    ).done(),
    "another algorithm": lambda f: f.set_manifest(
        lambda m: m["layers"][0].update(digest="md5:" + "0" * 32)
    ).done(),
    "a deep manifest": lambda f: f.set_manifest(DEEP).done(),
    "a key twice": lambda f: f.set_manifest(b'{"a":1,"a":2}').done(),
    "a manifest that is a list": lambda f: f.set_manifest(b"[1]").done(),
    "a deep listing": lambda f: f.relist().set_listing(DEEP),
    "a listing that is a list": lambda f: f.relist().set_listing(b"[1]"),
    "an index that is a text": lambda f: f.set_index(b'"x"').relist(),
    "entries that are numbers": lambda f: f.set_index(b'{"manifests":[1,2]}').relist(),
    "sums that leave the stick": lambda f: (f.stick / "SHA256SUMS").write_bytes(
        b"0" * 64 + b"  ../../etc/passwd\n"
    ),
    "sums that are a device": lambda f: (
        (f.stick / "SHA256SUMS").unlink(),
        (f.stick / "SHA256SUMS").symlink_to("/dev/zero"),
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_installs_nothing(name: str, stick: Path) -> None:
    HOSTILE[name](Forger(stick))
    before = tree(stick.parent)
    done = install(stick)
    assert done.returncode in (2, 3, 4), done.stderr
    assert done.stderr.count("error: ") == done.stderr.count("next:  ") == 1, done.stderr
    assert "Traceback" not in done.stderr
    changed = {path: digest for path, digest in tree(stick.parent).items() if path not in before}
    assert all(path.startswith(".target.wheels/") for path in changed), changed
    assert not (stick.parent / "target").exists()


def test_a_poisoned_directory(stick: Path) -> None:
    """Modules beside it, and in the directory that it is run from, are not Python's own."""
    for name in ("json", "hashlib", "argparse", "subprocess", "pathlib", "re", "site", "venv"):
        (stick / f"{name}.py").write_text("raise SystemExit('it ran')")
    (stick / "json").mkdir()
    (stick / "json" / "__init__.py").write_text("raise SystemExit('it ran')")
    done = install(stick, "--dry-run")
    assert (done.returncode, "it ran" in done.stderr) == (0, False), done.stderr
    assert "every file of the environment is right" in done.stderr
