"""Several processes on one run, one for each GPU: they average their gradients at every update.

Each process is the single-GPU run that is proved and tested, on a GPU of its own: same weights,
same update, other clips. trainer's own way with several GPUs is not used: it calls the wrapped
model past ``DistributedDataParallel.forward``, which then never exchanges gradients, and seeds
every process alike, so that all draw the same clips. See docs/gpus.md.

The process that the user started leads: it alone evaluates, saves and writes down. The others
(`follow`) do nothing but steps.
"""

from __future__ import annotations

import os
import random
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from xttsreg.errors import XttsregError
from xttsreg.training.engine import parameters

_BUCKET_BYTES = 64_000_000  # at a time: not a second copy of the model
PATIENCE = timedelta(days=1)  # an evaluation is waited for; a process that died is noticed at once
BEGIN = "begin"
"""Key under which the leader names the checkpoint when all are ready."""


class Team:
    """What one process has to do with the others: nothing, here.

    Attributes:
        rank: Which one this is; 0 leads.
        size: How many there are.
    """

    rank = 0
    size = 1

    def join(self, checkpoint: Path | None) -> None:
        """Wait until all have their model, and tell which checkpoint they go on from."""

    def attach(self, trainer: Any) -> None:
        """Have a trainer work with the others. To be called before its steps are wrapped."""

    def agree(self, trainer: Any) -> None:
        """Make sure that all have the same weights.

        Raises:
            XttsregError: they drifted apart; there would be as many models as processes.
        """

    def cause(self, error: Exception) -> XttsregError | None:
        """What went wrong in another process, if that is behind an error in this one."""
        return None


LONE = Team()
"""One process alone."""


class Member(Team):
    """One of several processes.

    Args:
        rank: Which one this is.
        size: How many there are.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._gradients: Any = None  # the group for them: NCCL between GPUs, else the other one
        self._averaged = self._agreed = False

    def connect(self, store: Any) -> None:
        """Meet the others, which all have to do the same."""
        import torch
        import torch.distributed as dist

        dist.init_process_group(
            "gloo",
            store=dist.PrefixStore("team", store),  # torch 2.5 fails to log a TCPStore by itself
            rank=self.rank,
            world_size=self.size,
            timeout=PATIENCE,
        )
        if torch.cuda.is_available():
            self._gradients = dist.new_group(backend="nccl", timeout=PATIENCE)

    def attach(self, trainer: Any) -> None:
        """See `Team.attach`."""
        clip, before_clipping = trainer._grad_clipping, trainer.callbacks.before_gradient_clipping
        step = trainer.train_step

        def averaged_clip(*args: Any, **kwargs: Any) -> Any:  # mixed precision comes by here
            self._average(trainer)
            return clip(*args, **kwargs)

        def averaged_before(*args: Any) -> Any:  # full precision here; the other one as well
            self._average(trainer)
            return before_clipping(*args)

        def train_step(*args: Any, **kwargs: Any) -> Any:
            self._averaged = False
            outputs, losses = step(*args, **kwargs)
            if self._averaged and not self._agreed:
                self.agree(trainer)  # after the first update, when little is lost yet
                self._agreed = True
            return outputs, self._mean(losses)

        trainer._grad_clipping = averaged_clip
        trainer.callbacks.before_gradient_clipping = averaged_before
        trainer.train_step = train_step

    def _average(self, trainer: Any) -> None:
        """Replace every gradient by its mean over the processes, once in a step."""
        if self._averaged:
            return
        self._averaged = True
        import torch
        import torch.distributed as dist
        from torch._utils import _flatten_dense_tensors, _take_tensors, _unflatten_dense_tensors

        gradients = [p.grad for p in parameters(trainer) if p.grad is not None]
        for bucket in _take_tensors(gradients, _BUCKET_BYTES):
            flat = _flatten_dense_tensors(bucket)
            dist.all_reduce(flat, group=self._gradients)
            flat.div_(self.size)
            torch._foreach_copy_(bucket, list(_unflatten_dense_tensors(flat, bucket)))

    def agree(self, trainer: Any) -> None:
        """See `Team.agree`. Compares a sum for each tensor, exactly."""
        import torch
        import torch.distributed as dist

        sums = torch.stack([p.detach().double().sum().cpu() for p in parameters(trainer)])
        least, most = sums.clone(), sums.clone()
        dist.all_reduce(least, op=dist.ReduceOp.MIN)
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        if not torch.equal(least, most):
            raise XttsregError(
                f"the {self.size} processes have different weights after the same updates",
                hint="train on one GPU, or on GPUs of one kind; checkpoints up to here are kept",
            )

    def _mean(self, losses: dict[str, Any]) -> dict[str, Any]:
        """The mean of each loss. Waits for all, so that a process that died is noticed here."""
        import torch
        import torch.distributed as dist

        names = sorted(name for name in losses if name.startswith("loss"))
        values = torch.tensor([float(losses[name]) for name in names], dtype=torch.float64)
        dist.all_reduce(values)
        return {**losses, **dict(zip(names, (values / self.size).tolist(), strict=True))}


def local_only() -> None:
    """Have the processes meet on loopback: nothing else is there behind the guard."""
    if sys.platform.startswith("linux"):
        os.environ.update({"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"})


class Follower(Member):
    """One of the others.

    Args:
        rank: From 1 on.
        size: Of the team.
        port: Of the leader's store.
    """

    def __init__(self, rank: int, size: int, port: int) -> None:
        super().__init__(rank, size)
        from torch.distributed import TCPStore

        local_only()
        self._store = TCPStore("127.0.0.1", port, is_master=False, timeout=PATIENCE)

    def wait(self) -> Path | None:
        """Tell the leader that the model is there; return the checkpoint to go on from."""
        self._store.set(f"ready/{self.rank}", "1")
        told: bytes = self._store.get(BEGIN)
        self.connect(self._store)
        return Path(os.fsdecode(told)) if told else None

    def seed(self, seed: int, step: int) -> None:
        """Draw other clips, and other dropout, than the other processes, and than before."""
        import numpy
        import torch

        generator = random.Random(f"{seed} {self.rank} {step}")
        random.seed(generator.getrandbits(63))
        numpy.random.seed(generator.getrandbits(32))
        torch.manual_seed(generator.getrandbits(63))

    def idle(self, trainer: Any) -> None:
        """Leave to the leader all that is no step. To be called after the rest is wrapped."""
        for name in ("eval_epoch", "test_run", "save_best_model"):
            setattr(trainer, name, lambda: None)
