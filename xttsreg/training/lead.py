"""Starts and ends the other processes of a run: see `team`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from xttsreg.errors import XttsregError
from xttsreg.training.environment import gpu_of
from xttsreg.training.explain import out_of_memory
from xttsreg.training.options import TrainOptions
from xttsreg.training.team import BEGIN, LONE, PATIENCE, Member, Team, local_only

ERROR_NAME = "error.json"
FOLLOWER_LOG = "output.txt"


class Leader(Member):
    """The process that the user started.

    Args:
        followers: The others, by rank.
        folders: Theirs, by rank.
        store: Where they meet.
    """

    def __init__(
        self,
        followers: Mapping[int, subprocess.Popen[bytes]],
        folders: Mapping[int, Path],
        store: Any,
    ) -> None:
        super().__init__(0, len(followers) + 1)
        self._followers, self._folders, self._store = followers, folders, store

    def join(self, checkpoint: Path | None) -> None:
        """See `Team.join`.

        Raises:
            XttsregError: one of them could not prepare itself, and why.
        """
        while not all(self._store.check([f"ready/{rank}"]) for rank in self._followers):
            self.check()
            time.sleep(0.05)
        self._store.set(BEGIN, str(checkpoint or ""))
        self.connect(self._store)

    def check(self) -> None:
        """Make sure that all are at work.

        Raises:
            XttsregError: one of them stopped, with its own words.
        """
        for rank, process in self._followers.items():
            if process.poll():
                raise _stopped(rank, self.size, process.returncode, self._folders[rank])

    def cause(self, error: Exception) -> XttsregError | None:
        """See `Team.cause`."""
        if not isinstance(error, RuntimeError) or out_of_memory(error):
            return None
        for _ in range(100):  # its last words may come a moment after its connection broke
            try:
                self.check()
            except XttsregError as found:
                return found
            time.sleep(0.05)
        return None


def _stopped(rank: int, size: int, code: int, folder: Path) -> XttsregError:
    said = {"message": f"ended with {code}", "hint": f"see {folder / FOLLOWER_LOG}"}
    with suppress(OSError, ValueError):
        said = json.loads((folder / ERROR_NAME).read_bytes())
    return XttsregError(
        f"process {rank + 1} of {size} stopped: {said['message']}", hint=said["hint"]
    )


@contextmanager
def lead(view: Path, options: TrainOptions, output: Path) -> Iterator[Team]:
    """Start the other processes of a run; end them with it.

    Args:
        view: Of the weights, for all of them.
        options: Of the run.
        output: Its folder. Each of the others gets a folder below it, with its proof and its log.

    Yields:
        The team, as the leader has it.

    Raises:
        InvalidInputError: there is no GPU for one of them.
    """
    if options.processes == 1:
        yield LONE
        return
    from torch.distributed import TCPStore

    local_only()
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=PATIENCE)
    followers, folders = {}, {}
    try:
        for rank in range(1, options.processes):
            folders[rank] = output / f"process-{rank + 1}"
            folders[rank].mkdir(exist_ok=True)
            (folders[rank] / ERROR_NAME).unlink(missing_ok=True)
            job = {
                "view": str(view),
                "options": options.as_dict(),
                "output": str(folders[rank]),
                "run": str(output),
                "rank": rank,
                "port": store.port,
            }
            followers[rank] = _start(job, rank, options, folders[rank])
        yield Leader(followers, folders, store)
    finally:
        _end(followers.values())


def _start(
    job: dict[str, Any], rank: int, options: TrainOptions, folder: Path
) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if options.device != "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = gpu_of(rank, options.gpus)
    with (folder / FOLLOWER_LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "xttsreg.training.follow"],
            stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment,
            start_new_session=True,  # Ctrl-C is the leader's, which saves before all end
        )  # fmt: skip
    stream: IO[bytes] = process.stdin  # type: ignore[assignment]
    stream.write(json.dumps(job).encode() + b"\n")
    stream.flush()  # and stays open: its end tells that the leader is gone
    return process


def _end(followers: Any) -> None:
    """End them: at the end of a run all that they had to do is done, and compared."""
    for process in followers:
        with suppress(OSError):
            process.stdin.close()
        process.kill()
    for process in followers:
        process.wait()
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
