"""Cores are counted as the kernel gives them out."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from xttsreg.content.cores import cores, quotas

COUNT = "from xttsreg.content.cores import cores; print(cores({}))"
V1 = Path("/sys/fs/cgroup/cpu")
V2 = Path("/sys/fs/cgroup")


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_version_2_counts_every_group_on_the_way_up(tmp_path: Path) -> None:
    put(tmp_path / "mine", "0::/pod/box\n")
    put(tmp_path / "groups/pod/box/cpu.max", "max 100000\n")
    put(tmp_path / "groups/pod/cpu.max", "150000 100000\n")
    assert list(quotas(tmp_path / "groups", tmp_path / "mine")) == [1.5]


def test_version_1_counts_the_root_where_a_container_does_not_see_its_path(tmp_path: Path) -> None:
    put(tmp_path / "mine", "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n1:name=systemd:/\n")
    put(tmp_path / "groups/cpu,cpuacct/cpu.cfs_quota_us", "400000\n")
    put(tmp_path / "groups/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert list(quotas(tmp_path / "groups", tmp_path / "mine")) == [4.0]


@pytest.mark.parametrize("text", ["", "max", "max 100000", "-1", "1 0", "x y", "0 100000"])
def test_what_is_no_limit_limits_nothing(tmp_path: Path, text: str) -> None:
    put(tmp_path / "mine", "0::/\n")
    put(tmp_path / "groups/cpu.max", text)
    assert not list(quotas(tmp_path / "groups", tmp_path / "mine"))


def test_no_control_groups_at_all(tmp_path: Path) -> None:
    assert not list(quotas(tmp_path, tmp_path / "none"))
    assert cores({}) >= 1


@pytest.fixture
def one_core() -> Iterator[Path]:
    """A control group whose processes get one core together, and the file that takes them in."""
    version_1 = (V1 / "cgroup.procs").exists()
    group = (V1 if version_1 else V2) / f"xttsreg-test-{os.getpid()}"
    try:
        group.mkdir()
        limit = "cpu.cfs_quota_us" if version_1 else "cpu.max"
        (group / limit).write_text("100000" if version_1 else "100000 100000")
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"control groups cannot be made here: {error}")
    try:
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


def test_a_real_quota(one_core: Path) -> None:
    enter = f"open({str(one_core)!r}, 'w').write('0'); "
    done = subprocess.run([sys.executable, "-c", enter + COUNT], capture_output=True, text=True)
    if "Permission" in done.stderr or "busy" in done.stderr:
        pytest.skip(f"control groups cannot be entered here: {done.stderr[-200:]}")
    assert done.stdout == "1\n", done.stderr
