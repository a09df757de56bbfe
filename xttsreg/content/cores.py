"""How many cores this process may use, which on a shared machine are not all that it has."""

from __future__ import annotations

import os
from collections.abc import Mapping


def cores(environ: Mapping[str, str] = os.environ) -> int:
    """Cores for this process: what the kernel binds it to, and what Slurm has given to its job.

    Slurm need not bind a job (``TaskPlugin=task/none``); what it counts on is in a variable then.

    >>> cores({"SLURM_CPUS_ON_NODE": "1"})
    1
    """
    bound = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    found = len(bound(0)) if bound else os.cpu_count() or 1
    given = environ.get("SLURM_CPUS_ON_NODE", "")
    return min(found, int(given)) if given.isdecimal() and int(given) else found
