"""A process that takes part in a run which another one leads.

``python -m xttsreg.training.follow`` is how that one starts it.

Its job comes as one line of JSON on the standard input, which then stays open as long as the
leader lives. What goes wrong is left in ``error.json`` for the leader to tell.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from xttsreg.errors import XttsregError
from xttsreg.stores import durable
from xttsreg.training.environment import prepare_environment
from xttsreg.training.fit import LOG_NAME, Fit, explained
from xttsreg.training.guard import offline_guard
from xttsreg.training.lead import ERROR_NAME
from xttsreg.training.options import TrainOptions
from xttsreg.training.run import check_device, prepare
from xttsreg.training.session import quiet
from xttsreg.training.team import Follower


def main() -> None:
    """Take part, to the end.

    Raises:
        Exception: whatever ended it, after it has been left for the leader.
    """
    # Slurm sends it to every process of a job. The leader stops after the step, for all.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_leader, daemon=True).start()
    output = Path(job["output"])
    try:
        _follow(job, output)
    except Exception as error:
        told = error if isinstance(error, XttsregError) else explained(error, Path(job["run"]))
        data = json.dumps({"message": told.message, "hint": told.hint}).encode()
        durable.write_atomic(output / ERROR_NAME, data, temporary=output / f".{ERROR_NAME}.tmp")
        raise


def _follow(job: dict[str, Any], output: Path) -> None:
    options = TrainOptions.from_dict(job["options"])
    prepare_environment(options.device)
    with quiet(output / LOG_NAME), offline_guard() as guard:
        check_device(options)
        prepared = prepare(Path(job["view"]), options, output, lambda _: None)
        team = Follower(job["rank"], options.processes, job["port"])
        Fit(prepared, options, output, {}, guard).follow(team)


def _end_with_the_leader() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
