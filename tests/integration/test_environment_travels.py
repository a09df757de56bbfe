"""A Python environment through the air gap: resolved from a real index, installed without one."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import damage, filled_store, make_small_set, run_cli, tree

from xttsreg.content.lock import Lock
from xttsreg.errors import MissingDependency, RemoteError
from xttsreg.ops.environment.make import make_environment
from xttsreg.ops.environment.tools import Tools
from xttsreg.ops.recipe import EnvironmentRecipe
from xttsreg.stores.base import read_manifest
from xttsreg.stores.layout import LayoutStore

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc",
    reason="the environment of these tests is for Linux with glibc",
)
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
PLATFORM = f"manylinux_2_17_{platform.machine()}"
TAG = f"environment:core-cp{PYTHON.replace('.', '')}-{PLATFORM}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home, a recipe, its lock and the stick made from it. Only to be read."""
    root = tmp_path_factory.mktemp("environment")
    try:
        Tools.find().run_pip(
            "download", "--no-deps", "idna", "--dest", str(root / "probe"), temporary=root
        )
    except (MissingDependency, RemoteError) as error:
        pytest.skip(f"no package index, or nothing to ask it with: {error.message[:200]}")
    filled_store(root / "home" / "store", make_small_set(root / "weights"))
    (root / "recipe.toml").write_text(
        'name = "r"\nmodels = ["own:v1"]\n[[environments]]\n'
        f'python = "{PYTHON}"\nplatform = "{PLATFORM}"\nlock = "lock.txt"\n'
    )
    done = run_cli(
        ["bundle", root / "recipe.toml", "-o", root / "stick"], root / "home", timeout_s=300
    )
    assert done.code == 0, done.stderr
    return root


@pytest.fixture
def stick(made: Path, tmp_path: Path) -> Path:
    """The stick, to be changed."""
    return Path(shutil.copytree(made / "stick", tmp_path / "stick"))


def bare_python() -> str:
    """This Python without any packages."""
    return str(Path(sys._base_executable if hasattr(sys, "_base_executable") else sys.executable))


def command(stick: Path, target: Path, *args: object) -> list[str]:
    """The command line of an installer that has no network, where that can be had."""
    cut = ["unshare", "-n"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*cut, "true"], capture_output=True).returncode
    ):
        cut = []
    return [*cut, bare_python(), str(stick / "install.py"), "--target", str(target),
            *map(str, args)]  # fmt: skip


def install(
    stick: Path, target: Path, *args: object, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it with an environment that has nothing of ours."""
    return subprocess.run(
        command(stick, target, *args), env=bare(target), cwd=cwd or target.parent,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def bare(target: Path) -> dict[str, str]:
    """An environment with a new home."""
    return {"PATH": os.environ["PATH"], "HOME": str(target.parent / "person")}


def wheel(made: Path, stick: Path, name: str) -> Path:
    """The blob of a wheel on a stick."""
    store = LayoutStore.open_existing(made / "home" / "store")
    files = read_manifest(store, store.tags()[TAG]).files()
    (layer,) = [layer for path, layer in files.items() if path.startswith(f"{name}-")]
    return stick / "blobs" / "sha256" / layer.digest.hex


def test_from_a_bare_python_to_a_store_without_a_network(made: Path, tmp_path: Path) -> None:
    target = tmp_path / "venv"
    shown = install(made / "stick", target, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert not target.exists()
    assert TAG in shown.stderr
    elsewhere = tmp_path / "downloads"  # what lies in the current directory is not run either
    elsewhere.mkdir()
    for name in ("json", "venv", "pip", "xttsreg", "click"):
        (elsewhere / f"{name}.py").write_text("raise SystemExit('poisoned')")
    done = install(made / "stick", target, cwd=elsewhere)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "NOT CHECKED" in done.stderr
    listed = subprocess.run(
        [target / "bin" / "xttsreg", "ls", "--json"], env=bare(target), capture_output=True,
        check=True,
    )  # fmt: skip
    assert [row["ref"] for row in json.loads(listed.stdout)] == [TAG, "own:v1"]
    check = subprocess.run(
        [target / "bin" / "python", "-I", "-m", "pip", "check"], env=bare(target),
        capture_output=True, text=True,
    )  # fmt: skip
    assert check.returncode == 0, check.stdout
    before = tree(target)
    again = install(made / "stick", target)
    assert again.returncode == 0
    assert "there already" in again.stderr
    changed = {name for name in before.items() ^ tree(target).items() if ".pyc" not in name[0]}
    assert changed == set()


def test_the_same_lock_makes_the_same_environment_in_another_store(
    made: Path, tmp_path: Path
) -> None:
    lock = Lock.load(made / "lock.txt")
    assert "://" not in (made / "lock.txt").read_text()
    recipe = EnvironmentRecipe(python=PYTHON, platform=PLATFORM)
    second = make_environment(LayoutStore.create(tmp_path / "s"), recipe, lock=lock)
    first = LayoutStore.open_existing(made / "home" / "store")
    assert second.manifest.digest == first.tags()[TAG].digest
    assert second.lock == lock


def test_a_tampered_wheel_is_not_installed(made: Path, stick: Path, tmp_path: Path) -> None:
    damage(wheel(made, stick, "click"), 100)
    done = install(stick, tmp_path / "venv")
    assert (done.returncode, "blob" in done.stderr) == (4, True), done.stderr
    assert not (tmp_path / "venv").exists()
    assert install(stick, tmp_path / "venv", "--dry-run").returncode == 4


def test_a_missing_wheel_is_named(made: Path, stick: Path, tmp_path: Path) -> None:
    gone = wheel(made, stick, "click")
    gone.unlink()
    done = install(stick, tmp_path / "venv")
    assert (done.returncode, gone.name in done.stderr) == (4, True), done.stderr


def test_what_lies_beside_it_is_not_run(stick: Path, tmp_path: Path) -> None:
    for name in ("json", "hashlib", "argparse", "venv", "pip", "xttsreg", "sitecustomize"):
        (stick / f"{name}.py").write_text("raise SystemExit('poisoned')")
    done = install(stick, tmp_path / "venv", "--dry-run", cwd=stick)
    assert done.returncode == 0, done.stderr
    inside = subprocess.run(
        [bare_python(), "install.py", "--target", str(tmp_path / "venv"), "--dry-run"], cwd=stick,
        env=bare(tmp_path / "venv"), capture_output=True, text=True,
    )  # fmt: skip
    assert inside.returncode == 0, inside.stderr


def test_a_folder_with_other_things_is_left_alone(stick: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    done = install(stick, tmp_path / "mine")
    assert (done.returncode, "other things" in done.stderr) == (2, True)


def test_goes_on_after_it_was_killed(made: Path, tmp_path: Path) -> None:
    target = tmp_path / "venv"
    child = subprocess.Popen(
        command(made / "stick", target),
        env=bare(target), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    packages = target / "lib" / f"python{PYTHON}" / "site-packages"
    for _ in range(3000):  # until pip is in the middle
        if list(packages.glob("*.dist-info")) or child.poll() is not None:
            break
        time.sleep(0.01)
    assert child.poll() is None
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert json.loads((target / "xttsreg-environment.json").read_text())["state"] == "installing"
    done = install(made / "stick", target)
    assert done.returncode == 0, done.stderr
    check = subprocess.run([target / "bin" / "python", "-I", "-m", "pip", "check"])
    assert check.returncode == 0
    assert not (tmp_path / ".venv.wheels").exists()


def test_the_signature_is_checked_first_if_it_is_known_who_may_sign(
    made: Path, tmp_path: Path
) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("ssh-keygen is not installed")
    for name in ("key", "other"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]
        subprocess.run([*make, str(tmp_path / name)], check=True)
    trust, strangers = tmp_path / "trust", tmp_path / "strangers"
    trust.write_text(f"alice {(tmp_path / 'key.pub').read_text()}")
    strangers.write_text(f"bob {(tmp_path / 'other.pub').read_text()}")
    stick, target = tmp_path / "stick", tmp_path / "venv"
    args = ["bundle", TAG, "-o", stick, "--sign", tmp_path / "key"]
    assert run_cli(args, made / "home", timeout_s=120).code == 0
    good = install(stick, target, "--dry-run", "--trust", trust)
    assert (good.returncode, "signed by alice" in good.stderr) == (0, True), good.stderr
    assert install(stick, target, "--dry-run", "--trust", strangers).returncode == 4
    unsigned = install(made / "stick", target, "--dry-run", "--trust", trust)
    assert (unsigned.returncode, "not signed" in unsigned.stderr) == (4, True)
    (stick / "SHA256SUMS").write_bytes((stick / "SHA256SUMS").read_bytes() + b"x")
    changed = install(stick, target, "--dry-run", "--trust", trust)
    assert (changed.returncode, "signature" in changed.stderr) == (4, True)
    assert not target.exists()


def test_several_sticks_and_parts(made: Path, tmp_path: Path) -> None:
    args = ["bundle", TAG, "-o", tmp_path / "out", "--volume-size", "6MB", "--max-file-size", "1MB"]
    assert run_cli(args, made / "home", timeout_s=120).code == 0
    first, second = sorted((tmp_path / "out").iterdir())
    assert (first / "parts").is_dir() or (second / "parts").is_dir()
    target = tmp_path / "venv"
    both = install(first, target, second, first, "--dry-run")
    assert both.returncode == 0, both.stderr
    alone = install(first, target, "--dry-run")
    assert (alone.returncode, "on stick 2 of 2" in alone.stderr) == (3, True), alone.stderr
    mixed = install(first, target, first, made / "stick", "--dry-run")
    assert (mixed.returncode, "of another bundle" in mixed.stderr) == (4, True), mixed.stderr


def test_the_same_trust_as_import_without_an_option(made: Path, tmp_path: Path) -> None:
    trust = tmp_path / "trust"
    trust.write_text("alice ssh-ed25519 AAAA\n")
    for variable, value in (("XTTSREG_TRUST", trust), ("XTTSREG_HOME", tmp_path / "home")):
        if variable == "XTTSREG_HOME":
            (tmp_path / "home").mkdir()
            trust.rename(tmp_path / "home" / "allowed_signers")
        done = subprocess.run(
            command(made / "stick", tmp_path / "venv", "--dry-run"), capture_output=True, text=True,
            env={**bare(tmp_path / "venv"), variable: str(value)},
        )  # fmt: skip
        assert (done.returncode, "not signed" in done.stderr) == (4, True), done.stderr


def test_trains_from_it_behind_the_gap(made: Path, tmp_path: Path) -> None:
    """From the core environment of the stick; torch, TTS and trainer are lent by this one."""
    for module in ("torch", "TTS", "trainer"):
        pytest.importorskip(module, reason="needs xttsreg[train]")
    from xttsreg.demo.clips import make_dataset
    from xttsreg.training.environment import prepare_environment
    from xttsreg.training.synthetic import make_weight_set

    prepare_environment("cpu")
    make_weight_set(tmp_path / "tiny")
    make_dataset(tmp_path / "clips", clips=4)
    home, stick, target = made / "home", tmp_path / "stick", tmp_path / "venv"
    for args in (
        ["add", "tiny:v1", tmp_path / "tiny"],
        ["add", "clips:v1", tmp_path / "clips", "--dataset"],
        ["bundle", TAG, "tiny:v1", "clips:v1", "-o", stick],
    ):
        done = run_cli(args, home, timeout_s=120)
        assert done.code == 0, done.stderr
    installed = install(stick, target)
    assert installed.returncode == 0, installed.stderr
    spec = importlib.util.find_spec("torch")
    assert spec
    assert spec.origin
    lent = target / "lib" / f"python{PYTHON}" / "site-packages" / "lent.pth"
    lent.write_text(str(Path(spec.origin).parents[1]))
    where = [target / "bin" / "python", "-I", "-c", "import xttsreg; print(xttsreg.__file__)"]
    assert subprocess.check_output(where, text=True).startswith(str(target))
    trained = subprocess.run(
        [*command(stick, target)[: -4], target / "bin" / "xttsreg", "train", "--model", "tiny:v1",
         "--dataset", "clips:v1", "--name", "voice", "--language", "en", "--epochs", "1",
         "--batch-size", "2", "--grad-accum", "1", "--eval-split", "0", "--workers", "0",
         "--device", "cpu", "--no-samples"],
        env=bare(target), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert "687 / 687 layers" in trained.stderr
    assert trained.stdout.startswith("voice:v1@sha256:")
