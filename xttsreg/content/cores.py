"""How many cores this process may use, which on a shared machine are not all that it has."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_MINE = Path("/proc/self/cgroup")


def cores(environ: Mapping[str, str] = os.environ) -> int:
    """Cores for this process: the kernel's binding, a container's quota, a Slurm job's share.

    Slurm need not bind a job (``TaskPlugin=task/none``); what it counts on is in a variable then.

    >>> cores({"SLURM_CPUS_ON_NODE": "1"})
    1
    """
    bound = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    limits = [len(bound(0)) if bound else os.cpu_count() or 1]
    given = environ.get("SLURM_CPUS_ON_NODE", "")
    if given.isdecimal() and int(given):
        limits.append(int(given))
    limits += [max(1, math.ceil(quota)) for quota in quotas()]
    return min(limits)


def quotas(groups: Path = _GROUPS, mine: Path = _MINE) -> Iterator[float]:
    """Cores that each control group above this process lets it use; none where there is no limit.

    Source: Linux, admin-guide/cgroup-v2.rst ("cpu.max") and scheduler/sched-bwc.rst (version 1).
    A container may see its own group as the root, or another path than its mount has, so all of
    the way up is looked at.
    """
    with contextlib.suppress(OSError):
        for line in mine.read_text("ascii", "replace").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from _limits(groups, path, "cpu.max")
            elif "cpu" in controllers.split(","):
                yield from _limits(groups / controllers, path, "cpu.cfs_quota_us")


def _limits(root: Path, path: str, name: str) -> Iterator[float]:
    group = root / path.strip("/")
    for place in (group, *group.parents):
        if place.is_relative_to(root):
            with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
                quota, *period = (place / name).read_text("ascii").split()
                beside = place / "cpu.cfs_period_us"
                period_us = int(period[0] if period else beside.read_text("ascii"))
                if int(quota) > 0:  # -1 or "max": no limit
                    yield int(quota) / period_us
