"""`install.py` of a stick: what it decides, without running it. tests/integration runs it."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path, PureWindowsPath
from types import ModuleType
from typing import Any

import pytest
from support import ROOT

from xttsreg.ops.trust import find_trust

SOURCE = ROOT / "xttsreg" / "_stick" / "install.py"


@pytest.fixture(scope="module")
def installer() -> ModuleType:
    """The file as a module."""
    spec = importlib.util.spec_from_file_location("stick_install", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_python_3_9_and_the_standard_library() -> None:
    parsed = ast.parse(SOURCE.read_text("utf-8"), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(parsed)
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert imported <= set(sys.stdlib_module_names)
    assert not any(isinstance(node, ast.Match) for node in ast.walk(parsed))
    for node in ast.walk(parsed):  # X | Y as a type fails at run time on 3.9
        if isinstance(node, (ast.FunctionDef, ast.AnnAssign)):
            notes = [node.annotation] if isinstance(node, ast.AnnAssign) else [
                note for note in (node.returns, *(a.annotation for a in node.args.args)) if note
            ]  # fmt: skip
            assert not any(isinstance(n, ast.BinOp) for note in notes for n in ast.walk(note))


def test_nothing_is_imported_before_the_path_is_clean() -> None:
    body = ast.parse(SOURCE.read_text("utf-8")).body
    guard = next(n for n, node in enumerate(body) if isinstance(node, ast.If))
    before = [node for node in body[:guard] if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [ast.unparse(node) for node in before] == ["import sys"]


LINUX = ("Linux", "x86_64", (2, 28))


@pytest.mark.parametrize(
    ("platform", "machine", "fits"),
    [
        ("manylinux_2_28_x86_64", LINUX, True),
        ("manylinux_2_17_x86_64", LINUX, True),
        ("manylinux_2_31_x86_64", LINUX, False),
        ("manylinux_2_28_aarch64", LINUX, False),
        ("musllinux_1_2_x86_64", LINUX, False),
        ("win_amd64", LINUX, False),
        ("musllinux_1_2_x86_64", ("Linux", "x86_64", ()), True),
        ("manylinux_2_28_x86_64", ("Linux", "x86_64", ()), False),
        ("win_amd64", ("Windows", "AMD64", ()), True),
        ("win_arm64", ("Windows", "ARM64", ()), True),
        ("win_amd64", ("Windows", "ARM64", ()), False),
        ("manylinux_2_28_x86_64", ("Windows", "AMD64", ()), False),
        ("macosx_12_0_arm64", ("Darwin", "arm64", (14, 5)), True),
        ("macosx_12_0_arm64", ("Darwin", "arm64", (11, 0)), False),
        ("macosx_12_0_x86_64", ("Darwin", "arm64", (14, 5)), False),
    ],
)
def test_which_environment_is_for_this_machine(
    installer: ModuleType, platform: str, machine: tuple[str, str, tuple[int, ...]], fits: bool
) -> None:
    config = {"python": "3.11", "platform": platform}
    assert installer.fits(config, (3, 11), *machine) is fits
    assert not installer.fits(config, (3, 12), *machine)


def environment(tag: str, python: str, platform: str, *extras: str) -> Any:
    config = {"python": python, "platform": platform, "extras": list(extras)}
    return f"environment:{tag}", config, {"layers": []}, "sha256:" + "0" * 64


def test_the_fullest_of_those_that_fit_is_taken(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bundle:
        def environments(self) -> Any:
            return [
                environment("core", "3.11", "manylinux_2_28_x86_64"),
                environment("train", "3.11", "manylinux_2_28_x86_64", "train"),
                environment("win", "3.11", "win_amd64", "ja", "train"),
            ]

    monkeypatch.setattr(installer, "here", lambda: ((3, 11), *LINUX))
    assert installer.choose(Bundle(), None)[0] == "environment:train"
    assert installer.choose(Bundle(), "core")[0] == "environment:core"
    with pytest.raises(installer.Failure, match="this bundle has: environment:core"):
        installer.choose(Bundle(), "win")
    monkeypatch.setattr(installer, "here", lambda: ((3, 13), *LINUX))
    with pytest.raises(installer.Failure, match=r"no environment for Python 3\.13"):
        installer.choose(Bundle(), None)


def test_paths_of_a_virtual_environment(installer: ModuleType) -> None:
    windows = installer.venv_python(PureWindowsPath("C:\\xtts"), "Windows")
    assert str(windows) == "C:\\xtts\\Scripts\\python.exe"
    assert installer.venv_python(Path("/x"), "Linux") == Path("/x/bin/python")


@pytest.mark.parametrize("name", ["../x", "/x", "a\\b", "C:x", "a/../b", ""])
def test_names_that_leave_the_stick_are_refused(installer: ModuleType, name: str) -> None:
    line = f"{'0' * 64}  {name}\n"
    with pytest.raises(installer.Failure, match="malformed"):
        installer.parse_sums(line)
    good = f"{'0' * 64}  a/b\n"
    assert installer.parse_sums(good) == {"a/b": "0" * 64}
    with pytest.raises(installer.Failure, match="malformed"):
        installer.parse_sums(good * 2)


@pytest.mark.parametrize("digest", [None, "sha256:../../x", "md5:0", "sha256:" + "A" * 64])
def test_a_digest_is_no_path(installer: ModuleType, digest: object) -> None:
    with pytest.raises(installer.Failure, match="not a digest"):
        installer.hex_of(digest)


def test_children_do_not_see_the_users_settings(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_INDEX_URL", "PIP_TARGET", "PYTHONPATH", "PYTHONHOME"):
        monkeypatch.setenv(name, "x")
    kept = installer.clean_environment()
    assert not {"PIP_INDEX_URL", "PIP_TARGET", "PYTHONPATH", "PYTHONHOME"} & kept.keys()


def test_a_directory_that_is_no_bundle(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SOURCE), str(tmp_path), "--dry-run"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}: no bundle here\nnext:  ")


def test_it_looks_for_the_trust_where_import_does(
    installer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both(given: Path | None = None) -> Path | None:
        found = installer.policy_file(given, "XTTSREG_TRUST", "allowed_signers")
        assert found == find_trust(given).allowed_signers
        return found

    for variable in ("XTTSREG_TRUST", "XTTSREG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert both() is None
    default = find_trust.__globals__["places"].home() / "allowed_signers"
    default.parent.mkdir(parents=True)
    default.write_text("me ssh-ed25519 AAAA")
    assert both() == default
    monkeypatch.setenv("XTTSREG_HOME", str(tmp_path / "home"))
    assert both() is None
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "allowed_signers").write_text("me ssh-ed25519 AAAA")
    assert both() == tmp_path / "home" / "allowed_signers"
    monkeypatch.setenv("XTTSREG_TRUST", "~/named")
    (tmp_path / "named").write_text("me ssh-ed25519 AAAA")
    assert both() == tmp_path / "named"
    assert both(default) == default
    (tmp_path / "named").write_text(" ")
    with pytest.raises(installer.Failure, match="empty"):
        installer.policy_file(None, "XTTSREG_TRUST", "allowed_signers")
