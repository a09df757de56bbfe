"""Environments as values: targets, wheels' names, manifests, locks, repacked wheels, settings."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest
from support import blob_of

from xttsreg.content.artifacts import ENVIRONMENT_TYPE
from xttsreg.content.digest import Digest
from xttsreg.content.environment import (
    EnvironmentConfig,
    Target,
    Wheel,
    build_environment,
    project_of,
)
from xttsreg.content.lock import Lock, Locked
from xttsreg.errors import (
    IntegrityError,
    InvalidInputError,
    InvalidManifest,
    InvalidRecipe,
    NewerFormat,
    UnsafePath,
)
from xttsreg.ops.environment.gather import _require_fit
from xttsreg.ops.environment.repack import repack, write_wheel
from xttsreg.ops.environment.resolve import Pin, parse_pins, uv_platform
from xttsreg.ops.environment.tools import uv_settings
from xttsreg.ops.recipe import load_recipe

LINUX = Target("3.11", "manylinux_2_28_x86_64")
WINDOWS = Target("3.11", "win_amd64")
MAC = Target("3.12", "macosx_12_0_arm64")


# --- targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "wheel", "takes"),
    [
        (LINUX, "six-1.17.0-py2.py3-none-any.whl", True),
        (LINUX, "old-1-py2-none-any.whl", False),
        (LINUX, "new-1-py312-none-any.whl", False),
        (LINUX, "torch-2.5.1-cp311-cp311-manylinux1_x86_64.whl", True),
        (LINUX, "x-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        (LINUX, "x-1-cp311-cp311-manylinux_2_34_x86_64.whl", False),
        (LINUX, "x-1-cp310-cp310-manylinux_2_17_x86_64.whl", False),
        (LINUX, "x-1-cp39-abi3-manylinux_2_17_x86_64.whl", True),
        (LINUX, "x-1-cp312-abi3-manylinux_2_17_x86_64.whl", False),
        (LINUX, "x-1-cp311-cp311-manylinux_2_17_aarch64.whl", False),
        (LINUX, "x-1-cp311-cp311-win_amd64.whl", False),
        (LINUX, "x-1-py3-none-linux_x86_64.whl", True),
        (LINUX, "x-1-7-cp311-cp311-linux_x86_64.whl", True),
        (LINUX, "x-1.tar.gz", False),
        (WINDOWS, "x-1-cp311-cp311-win_amd64.whl", True),
        (WINDOWS, "x-1-cp311-cp311-win32.whl", False),
        (MAC, "x-1-cp312-cp312-macosx_11_0_arm64.whl", True),
        (MAC, "x-1-cp312-cp312-macosx_10_9_universal2.whl", True),
        (MAC, "x-1-cp312-cp312-macosx_10_9_x86_64.whl", False),
        (MAC, "x-1-cp312-cp312-macosx_13_0_arm64.whl", False),
    ],
)
def test_which_wheels_a_machine_takes(target: Target, wheel: str, takes: bool) -> None:
    assert target.takes(wheel) is takes


@pytest.mark.parametrize("platform", ["linux", "manylinux_2_5_x86_64", "win_x86", "", "any", "a b"])
def test_what_is_no_platform_is_refused(platform: str) -> None:
    with pytest.raises(InvalidInputError, match="platform"):
        Target.of("3.11", platform)


@pytest.mark.parametrize("python", ["3", "2.7", "3.11.4", "cp311", "3.0"])
def test_what_is_no_python_is_refused(python: str) -> None:
    with pytest.raises(InvalidInputError, match="Python"):
        Target.of(python, "win_amd64")


def test_platforms_are_those_that_pip_has_to_be_told() -> None:
    assert LINUX.platforms()[:2] == ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64"]
    assert {"manylinux2014_x86_64", "manylinux1_x86_64", "linux_x86_64"} < set(LINUX.platforms())
    assert "manylinux1_aarch64" not in Target("3.11", "manylinux_2_28_aarch64").platforms()
    assert Target("3.11", "musllinux_1_1_x86_64").platforms() == [
        "musllinux_1_1_x86_64", "musllinux_1_0_x86_64", "linux_x86_64",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        ("manylinux_2_28_x86_64", "x86_64-manylinux_2_28"),
        ("manylinux_2_27_aarch64", "aarch64-manylinux_2_17"),
        ("musllinux_1_2_x86_64", "x86_64-unknown-linux-musl"),
        ("macosx_12_0_arm64", "aarch64-apple-darwin"),
        ("macosx_11_0_x86_64", "x86_64-apple-darwin"),
        ("win_amd64", "x86_64-pc-windows-msvc"),
        ("win_arm64", "aarch64-pc-windows-msvc"),
    ],
)
def test_what_uv_calls_a_platform(platform: str, name: str) -> None:
    assert uv_platform(Target.of("3.11", platform)) == name


# --- the artifact --------------------------------------------------------------------------------


def wheel(file: str, content: bytes = b"x") -> Wheel:
    return Wheel(file, Digest.of(content), len(content))


WHEELS = [wheel("b_c-2-py3-none-any.whl", b"b"), wheel("a-1-py3-none-any.whl", b"a")]


def test_the_manifest_is_a_function_of_its_content() -> None:
    config = EnvironmentConfig(python="3.11", platform="win_amd64")
    first = build_environment(config, b"lock", WHEELS)
    second = build_environment(config, b"lock", WHEELS[::-1])
    assert first == second
    data, manifest = first
    assert manifest.artifact_type == ENVIRONMENT_TYPE
    assert list(manifest.files()) == ["requirements.txt", "a-1-py3-none-any.whl",
                                      "b_c-2-py3-none-any.whl"]  # fmt: skip
    assert EnvironmentConfig.parse(data) == config
    assert blob_of(data).digest == manifest.config.digest


def test_two_wheels_of_one_name_are_refused() -> None:
    with pytest.raises(UnsafePath):
        build_environment(
            EnvironmentConfig(python="3.11", platform="win_amd64"), b"",
            [wheel("a-1-py3-none-any.whl"), wheel("A-1-py3-none-any.whl", b"y")],
        )  # fmt: skip


def test_a_newer_environment_says_so() -> None:
    with pytest.raises(NewerFormat, match="version 2"):
        EnvironmentConfig.parse(b'{"format_version":2,"arch":"new"}')


@pytest.mark.parametrize(
    "file", ["../a-1-py3-none-any.whl", "a-1.tar.gz", "a/b-1-py3-none-any.whl"]
)
def test_what_is_no_wheel_has_no_project(file: str) -> None:
    with pytest.raises((InvalidManifest, UnsafePath)):
        project_of(file)


# --- the lock ------------------------------------------------------------------------------------


def lock(**changes: object) -> Lock:
    packages = [Locked(WHEELS[0], source=Digest.of(b"source")), Locked(WHEELS[1])]
    options = {"python": "3.11", "platform": "win_amd64", "extras": ["zh", "ja"], "cuda": "12.4"}
    return Lock.of(**{**options, "packages": packages, **changes})  # type: ignore[arg-type]


def test_a_lock_is_read_as_it_was_written() -> None:
    assert Lock.parse(lock().to_bytes(), "lock") == lock()
    assert Lock.parse(lock().to_bytes().replace(b"\n", b"\r\n"), "lock") == lock()
    assert lock().config.extras == ("ja", "zh")
    assert lock().config.built == ("b_c-2-py3-none-any.whl",)


def test_a_lock_is_sorted_and_has_one_hash_a_package() -> None:
    lines = lock().to_bytes().decode().splitlines()
    assert [line.split("==")[0] for line in lines if "==" in line] == ["a", "b-c"]
    assert sum("--hash=sha256:" in line for line in lines) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"format 1", b"format 9"),
        (b"a==1", b"b==1"),
        (b"--hash=sha256:", b"--hash=md5:"),
        (b"# wheel a-1-py3", b"# wheel ../a-1-py3"),
        (b"a==1 \\\n", b"a==1 ; x \\\n"),
        (b"# wheel a-1-py3-none-any.whl 1\n", b""),
        (b"# python 3.11\n", b"# python 3.11\n--index-url http://evil\n"),
    ],
)
def test_a_lock_that_was_changed_is_refused(old: bytes, new: bytes) -> None:
    data = lock().to_bytes()
    assert old in data
    with pytest.raises(InvalidInputError, match="lock"):
        Lock.parse(data.replace(old, new, 1), "lock")


def test_pins_are_read_from_what_uv_prints() -> None:
    one, two = Digest.of(b"1"), Digest.of(b"2")
    text = f"a.b==1.0 \\\n    --hash={one} \\\n    --hash={two}\nC==2+cpu \\\n    --hash={two}\n"
    assert parse_pins(text) == [
        Pin("a-b", "1.0", frozenset({one, two})), Pin("c", "2+cpu", frozenset({two})),
    ]  # fmt: skip


# --- wheels that repeat --------------------------------------------------------------------------

FILES = {
    "mod.py": b"x = 1\n",
    "mod-1.dist-info/METADATA": b"Name: mod\nVersion: 1\n",
    "mod-1.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: tool 9\nTag: py3-none-any\n",
}


def zipped(path: Path, files: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:  # type: ignore[arg-type]
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_a_repacked_wheel_depends_on_its_content_alone(tmp_path: Path) -> None:
    first = zipped(tmp_path / "1.whl", FILES)
    changed = {**FILES, "mod-1.dist-info/WHEEL": FILES["mod-1.dist-info/WHEEL"].replace(b"9", b"8")}
    second = zipped(tmp_path / "2.whl", dict(reversed(changed.items())), compression=8)
    for path in (first, second):
        repack(path, path.with_suffix(".out"))
    assert (tmp_path / "1.out").read_bytes() == (tmp_path / "2.out").read_bytes()
    with zipfile.ZipFile(tmp_path / "1.out") as archive:
        assert archive.testzip() is None
        assert archive.namelist()[-1] == "mod-1.dist-info/RECORD"
        record = archive.read("mod-1.dist-info/RECORD").decode()
    encoded = base64.urlsafe_b64encode(hashlib.sha256(FILES["mod.py"]).digest()).decode()
    assert record.splitlines()[0] == f"mod.py,sha256={encoded.rstrip('=')},6"


@pytest.mark.parametrize("name", ["mod-1.dist-info/METADATA", "WHEEL"])
def test_what_is_no_wheel_is_not_repacked(tmp_path: Path, name: str) -> None:
    with pytest.raises(IntegrityError):
        write_wheel({name: lambda: b""}, tmp_path / "x.whl")
    (tmp_path / "y.whl").write_bytes(b"no zip")
    with pytest.raises(IntegrityError):
        repack(tmp_path / "y.whl", tmp_path / "z.whl")


def test_what_is_built_here_must_run_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pin = Pin("lib", "1", frozenset())
    native = "lib-1-cp311-cp311-linux_x86_64.whl"
    _require_fit(pin, "lib-1-py3-none-any.whl", WINDOWS)
    for libc, fits in ((("glibc", "2.28"), True), (("glibc", "2.39"), False), (("", ""), False)):
        monkeypatch.setattr("platform.libc_ver", lambda found=libc: found)
        if fits:
            _require_fit(pin, native, LINUX)
        else:
            with pytest.raises(InvalidInputError, match="lib 1 has only source"):
                _require_fit(pin, native, LINUX)
    with pytest.raises(InvalidInputError, match="lib 1 has only source"):
        _require_fit(pin, native, WINDOWS)


# --- the user's settings -------------------------------------------------------------------------


def test_uv_is_told_what_pip_knows(tmp_path: Path) -> None:
    listing = (
        ":env:.find-links='/nowhere'\n"
        f"global.find-links='{tmp_path}'\n"
        "global.index-url='https://user:secret@index.example/simple'\n"
        "global.extra-index-url='https://a.example/simple\\nfile:///nowhere/simple'\n"
        "install.no-binary='x'\nglobal.cert='/ca.pem'\nnonsense\n"
        "download.index-url='https://other.example/simple'\n"
    )
    assert uv_settings(listing) == {
        "UV_DEFAULT_INDEX": "https://other.example/simple",
        "UV_INDEX": "https://a.example/simple",
        "SSL_CERT_FILE": "/ca.pem",
    }


# --- recipes -------------------------------------------------------------------------------------


def recipe(tmp_path: Path, text: str) -> Path:
    (tmp_path / "r.toml").write_text(f'name = "r"\n{text}', "utf-8")
    return tmp_path / "r.toml"


ENVIRONMENT = '[[environments]]\npython = "3.11"\nplatform = "win_amd64"\n'


def test_a_recipe_names_environments(tmp_path: Path) -> None:
    found = load_recipe(recipe(tmp_path, ENVIRONMENT + 'extras = ["train", "ja"]\n'))
    assert found.environments[0].tagged == "environment:ja.train-cp311-win_amd64"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ENVIRONMENT * 2,
        ENVIRONMENT.replace("3.11", "3"),
        ENVIRONMENT.replace("win_amd64", "windows"),
        ENVIRONMENT + 'extras = ["a]b"]\n',
        ENVIRONMENT + 'cuda = "a\\nb"\n',
        ENVIRONMENT + 'index = "x"\n',
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidRecipe):
        load_recipe(recipe(tmp_path, text))
