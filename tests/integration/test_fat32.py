"""Sticks as they are: a real FAT32 image, killed in the middle, too full, with a small limit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import (
    blob_file,
    clean_environment,
    filled_store,
    largest,
    make_small_set,
    run_cli,
    start_cli,
    tree,
)

from xttsreg.ops.medium import limits_of
from xttsreg.ops.spread import FAT32_FILE_BYTES

MODEL_BYTES = 24_000_000


@contextmanager
def stick(image: Path, size_bytes: int = 80_000_000) -> Iterator[Path]:
    """A FAT32 medium, mounted by the kernel or else by fusefat; made if it is not there."""
    where = image.with_suffix(".mounted")
    where.mkdir(exist_ok=True)
    if not shutil.which("mkfs.vfat"):
        pytest.skip("no mkfs.vfat here (dosfstools)")
    if not image.exists():
        with image.open("wb") as file:
            file.truncate(size_bytes)
        subprocess.run(["mkfs.vfat", "-F", "32", "-s", "2", image], check=True, capture_output=True)
    ways = [["mount", "-o", "loop", image, where]]
    if shutil.which("fusefat"):
        ways.append(["fusefat", "-o", "rw+", image, where])
    for way in ways:
        if subprocess.run(way, capture_output=True).returncode == 0 and where.is_mount():
            break
    else:
        pytest.skip("nothing here mounts FAT32 (the kernel, or fusefat)")
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)
        deadline = time.monotonic() + 60  # fusefat writes its last blocks when it ends
        while subprocess.run(["pgrep", "-f", str(image)], capture_output=True).stdout:
            if time.monotonic() > deadline:
                pytest.fail("fusefat goes on: another mount namespace has a copy of this mount")
            time.sleep(0.05)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fat")
    weights = make_small_set(root / "weights", model_pth=MODEL_BYTES)
    filled_store(root / "home" / "store", weights)
    return root / "home"


def test_two_volumes_a_power_cut_and_the_same_store_again(home: Path, tmp_path: Path) -> None:
    images = [tmp_path / "one.img", tmp_path / "two.img"]
    args = ["bundle", "own:v1", "--volume-size", "20MB", "--max-file-size", "7MB", "--readback"]
    with stick(images[0]) as first:
        running = start_cli([*args, "--volume", 1, "-o", first / "xtts"], home)
        partial, deadline = first / "xtts" / ".xttsreg", time.monotonic() + 60
        while not largest(partial, "*.0*"):
            assert time.monotonic() < deadline
            assert running.poll() is None, running.communicate()
            time.sleep(0.002)
        running.kill()
        running.communicate()
        assert not (first / "xtts" / "SHA256SUMS").exists()
        assert run_cli(["import", first / "xtts"], tmp_path / "home").code == 2
    with stick(images[0]) as first, stick(images[1]) as second:
        for number, place in ((1, first), (2, second)):
            done = run_cli([*args, "--volume", number, "-o", place / "xtts"], home)
            assert done.code == 0, done.stderr
            assert subprocess.run(
                ["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=place / "xtts"
            ).returncode == 0  # fmt: skip
            times = {p: p.stat().st_mtime_ns for p in (place / "xtts").rglob("*")}
            again = run_cli([*args, "--volume", number, "-o", place / "xtts"], home)
            assert "0 B written" in again.stderr
            assert {p: p.stat().st_mtime_ns for p in (place / "xtts").rglob("*")} == times
    with stick(images[0]) as first, stick(images[1]) as second:
        done = run_cli(["import", second / "xtts"], tmp_path / "home")
        assert (done.code, done.stdout) == (0, "")
        assert "volume 1 of 2 is missing" in done.stderr
        done = run_cli(["import", first / "xtts"], tmp_path / "home")
        assert done.stdout.startswith("own:v1@sha256:")
        assert tree(tmp_path / "home" / "store") == tree(home / "store")
        path = next((first / "xtts" / "parts" / "sha256").iterdir())
        data = path.read_bytes()
        path.unlink()  # this medium knows no chmod, and fusefat no truncation
        path.write_bytes(data[:1000] + bytes([data[1000] ^ 1]) + data[1001:])
        done = run_cli(["import", first / "xtts"], tmp_path / "home")
        assert (done.code, path.name in done.error) == (4, True)
        assert "the same again on a second reading" in done.hint


def test_limit_room_and_case_are_known_before_the_first_byte(home: Path, tmp_path: Path) -> None:
    with stick(tmp_path / "one.img") as place:
        assert limits_of(place / "new").file_bytes == FAT32_FILE_BYTES
        done = run_cli(["bundle", "own:v1", "-o", place / "xtts"], home)
        assert done.code == 0, done.stderr
        (place / "XTTS" / "readme.TXT").read_bytes()  # case does not count here
        (place / "filler").write_bytes(b"\0" * 40_000_000)
        store = filled_store(tmp_path / "o" / "store", make_small_set(tmp_path / "w", seed=3,
                             model_pth=MODEL_BYTES * 2), ref="mine:v1")  # fmt: skip
        before = tree(place)
        done = run_cli(["bundle", "mine:v1", "-o", place / "xtts"], store.root.parent)
        assert done.code == 5
        assert "bytes are needed" in done.error
        assert "--volume-size" in done.hint
        assert tree(place) == before, "the earlier bundle is still whole"


def test_a_store_on_such_a_medium_is_not_fooled_by_its_times(tmp_path: Path) -> None:
    """Changed within the two seconds that FAT cannot tell apart."""
    with stick(tmp_path / "one.img") as place:
        store = filled_store(place / "store", make_small_set(tmp_path / "w"))
        path = blob_file(store, "dvae.pth")
        status = path.stat()
        data = bytearray(path.read_bytes())
        data[7] ^= 1
        with path.open("r+b") as file:
            file.write(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        done = run_cli(["verify", "--store", place / "store"], tmp_path)
        assert (done.code, "dvae.pth" in done.stderr + done.stdout) == (4, True)


def test_a_limit_of_the_shell_splits_as_well(home: Path, tmp_path: Path) -> None:
    args = [sys.executable, "-m", "xttsreg", "bundle", "own:v1", "-o", str(tmp_path / "stick")]
    script = 'ulimit -f 4096; exec "$@"'  # in KiB
    done = subprocess.run(
        ["bash", "-c", script, "bash", *args],
        env=clean_environment(home),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    sizes = [p.stat().st_size for p in (tmp_path / "stick" / "parts" / "sha256").iterdir()]
    assert (max(sizes), sum(sizes)) == (4096 * 1024, MODEL_BYTES)
    assert run_cli(["import", tmp_path / "stick"], tmp_path / "home").code == 0
    assert tree(tmp_path / "home" / "store") == tree(home / "store")
