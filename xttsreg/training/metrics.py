"""Collects the losses of a stock trainer, step by step, without changing what it does."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from xttsreg.errors import XttsregError
from xttsreg.stores import durable
from xttsreg.training.engine import sole
from xttsreg.training.result import EvalLoss, StepLoss

Event = dict[str, Any]


class Recorder:
    """Writes ``metrics.jsonl``, keeps the losses, and tells a listener.

    Args:
        path: The file, one JSON object a line.
        tell: Called with each event.
    """

    def __init__(self, path: Path, tell: Callable[[Event], None]) -> None:
        self.step_losses: list[StepLoss] = []
        self.eval_losses: list[EvalLoss] = []
        self._path = path
        self._tell = tell
        self._stream: IO[str] | None = None
        self._began = time.monotonic()
        self._pending: list[tuple[int, dict[str, float]]] = []

    def __enter__(self) -> Recorder:
        """Open the file."""
        self._stream = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

    def rewind(self, *, step: int, epoch: int) -> None:
        """Take over what an earlier process wrote, up to where it is gone on from.

        Args:
            step: Steps after this one are done again.
            epoch: Evaluations of this epoch and later ones are done again.
        """
        kept = []
        for line in self._path.read_bytes().splitlines() if self._path.is_file() else []:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # cut by a kill
            kind = event.pop("event")
            if kind == "step" and event["step"] <= step:
                self.step_losses.append(StepLoss(**event))
            elif kind == "eval" and event["epoch"] < epoch:
                self.eval_losses.append(EvalLoss(**event))
            else:
                continue
            kept.append(line + b"\n")
        temporary = self._path.with_name(f".{self._path.name}.partial")
        self.__exit__()
        durable.write_atomic(self._path, b"".join(kept), temporary=temporary)
        self.__enter__()
        if self.step_losses:
            self._began -= self.step_losses[-1].seconds

    def attach(self, trainer: Any) -> None:
        """Listen to a ``trainer.Trainer``: its steps return the exact losses, so take them there.

        The callbacks of trainer only give running averages, and those leave out the first value.
        """
        train_step, eval_step = trainer.train_step, trainer.eval_step
        eval_epoch = trainer.eval_epoch

        def recorded_train_step(*args: Any, **kwargs: Any) -> Any:
            outputs, losses = train_step(*args, **kwargs)
            if losses:
                self._on_step(trainer, losses)
            return outputs, losses

        def recorded_eval_step(batch: Any, *args: Any, **kwargs: Any) -> Any:
            clips = len(batch["text_lengths"])
            outputs, losses = eval_step(batch, *args, **kwargs)
            if losses:
                self._pending.append((clips, losses))
            return outputs, losses

        def recorded_eval_epoch(*args: Any, **kwargs: Any) -> Any:
            self._pending.clear()
            result = eval_epoch(*args, **kwargs)
            self._on_eval(trainer)
            return result

        trainer.train_step = recorded_train_step
        trainer.eval_step = recorded_eval_step
        trainer.eval_epoch = recorded_eval_epoch

    def _on_step(self, trainer: Any, losses: dict[str, float]) -> None:
        loss = StepLoss(
            step=int(trainer.total_steps_done),
            epoch=int(trainer.epochs_done),
            # trainer divides it for the accumulation; undivided it compares with the evaluation's
            loss=float(losses["loss"]) * int(trainer.grad_accum_steps),
            loss_text_ce=float(losses["loss_text_ce"]),
            loss_mel_ce=float(losses["loss_mel_ce"]),
            lr=float(sole(trainer.optimizer).param_groups[0]["lr"]),
            seconds=round(time.monotonic() - self._began, 3),
        )
        self.step_losses.append(loss)
        self._write({"event": "step", **asdict(loss)})
        if math.isnan(loss.loss):
            raise XttsregError(
                f"the loss is not a number at step {loss.step}: going on would train noise",
                hint="lower the learning rate, switch mixed_precision off, and check the clips",
            )

    def _on_eval(self, trainer: Any) -> None:
        clips = sum(count for count, _ in self._pending)
        if not clips:
            return
        means = {
            name: sum(count * float(losses[name]) for count, losses in self._pending) / clips
            for name in ("loss", "loss_text_ce", "loss_mel_ce")
        }
        step, epoch = int(trainer.total_steps_done), int(trainer.epochs_done)
        loss = EvalLoss(step=step, epoch=epoch, clips=clips, **means)
        self.eval_losses.append(loss)
        self._write({"event": "eval", **asdict(loss)})

    def _write(self, event: Event) -> None:
        if self._stream is not None:
            self._stream.write(json.dumps(event) + "\n")
            self._stream.flush()
        self._tell(event)
