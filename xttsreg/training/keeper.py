"""Keeps a stock trainer's run: saves so that it can go on exactly, and goes on.

The stock trainer's own checkpoints lack the place in the data, the state of the random generators
and of the scheduler, and it starts again at the first epoch. All this is put into the checkpoint
beside what stock has there, under one key; the file stays one that stock can read.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from xttsreg.training.engine import parameters, sole, train_loader
from xttsreg.training.metrics import Recorder
from xttsreg.training.position import (
    Generators,
    Position,
    RestOfEpoch,
    capture,
    part_of_epoch,
    restore,
)
from xttsreg.training.saving import BEST_NAME, keep_newest, share, write_checkpoint
from xttsreg.training.stopping import Stop

EXTRA = "xttsreg"
"""The key in a checkpoint under which is what stock leaves out."""
_PLAIN = (bool, int, float, str, list, type(None))


@dataclass(frozen=True, slots=True)
class _Place:
    """A position, and the generators there and at the beginning of its epoch."""

    position: Position
    generators: Generators
    at_start: Generators


class Keeper:
    """Watches one trainer.

    Args:
        directory: The run's folder.
        keep: How many periodic checkpoints to keep.
        save_step: Steps between two of them.
        stop: Asked between steps.
        processes: That share each epoch.
    """

    def __init__(
        self, directory: Path, *, keep: int, save_step: int, stop: Stop, processes: int = 1
    ) -> None:
        self._directory = directory
        self._keep, self._save_step, self._stop = keep, save_step, stop
        self._processes = processes
        self._trainer: Any = None
        self._place: _Place | None = None
        self._begin = Position()  # what lies before this is skipped
        self._pending: dict[str, Any] | None = None  # to be restored at the first thing done
        self._skipped = 0  # batches of this epoch that an earlier process did
        self._is_inside_step = False
        self._is_due = False
        self._saved: Position | None = None

    def attach(self, trainer: Any, recorder: Recorder, content: Any = None) -> None:
        """Take over saving, and go on from a checkpoint.

        Args:
            trainer: A new ``trainer.Trainer``.
            recorder: Attached here, to sit between the stock step and what follows it.
            content: Of the checkpoint to go on from.
        """
        self._trainer = trainer
        # Stock makes it in the first training epoch. It shuffles and seeds while it is made, so
        # that has to be over before the generators' state is taken or restored.
        trainer.train_loader = part_of_epoch(train_loader(trainer), self._processes)
        if content is not None:
            self._load(content)
        trainer.save_checkpoint = lambda: None  # stock's is in the middle of a step; see _kept
        trainer.train_step = self._counted(trainer.train_step)
        recorder.attach(trainer)
        trainer.train_step = self._kept(trainer.train_step)
        trainer.eval_step = self._stoppable(trainer.eval_step)
        trainer.train_epoch = self._train_epoch(trainer.train_epoch)
        trainer.eval_epoch = self._unless_done(self._eval_epoch(trainer.eval_epoch))
        trainer.test_run = self._unless_done(trainer.test_run)
        trainer.save_best_model = self._unless_done(self._save_best)

    def save_interrupted(self) -> Path | None:
        """Save where the run was stopped; None if nothing is new, or there is no whole step."""
        place = self._place
        if (
            self._stop.is_urgent
            or self._is_inside_step
            or place is None
            or place.position == self._saved
        ):
            return None
        if not self._trainer.total_steps_done:
            return None  # the base is in the store
        return self._save()

    # --- going on --------------------------------------------------------------------------------

    def _load(self, content: Any) -> None:
        trainer, extra = self._trainer, content[EXTRA]
        trainer.model.load_state_dict(content["model"])
        # The optimizer keeps the tensors it is given, and these are mapped from the file.
        sole(trainer.optimizer).load_state_dict(copy.deepcopy(content["optimizer"]))
        if trainer.scaler is not None and content["scaler"]:
            trainer.scaler.load_state_dict(content["scaler"])
        if sole(trainer.scheduler) is not None:
            sole(trainer.scheduler).load_state_dict(extra["scheduler"])
        for number, parameter in enumerate(parameters(trainer)):
            if number in extra["gradients"]:
                parameter.grad = extra["gradients"][number].to(parameter.device, copy=True)
        if (self._directory / BEST_NAME).is_file():  # else the next one is the best there is
            trainer.best_loss = dict(extra["best_loss"])
        # TTS 0.22.0 takes the first when it starts to count, the fork goes on from the second
        trainer.restore_step = trainer.total_steps_done = content["step"]
        self._begin = self._saved = Position(**extra["position"])
        kept = {key: value for key, value in extra.items() if key != "gradients"}
        self._pending = copy.deepcopy(kept)  # lets go of the mapped file

    def _resume_here(self) -> None:
        """Put back what trainer makes anew at the beginning of an epoch."""
        extra, self._pending = self._pending, None
        if extra is None:
            return
        restore(extra["generators"])
        if self._begin.is_inside:
            average = self._trainer.keep_avg_train
            average.avg_values.update(extra["averages"]["values"])
            average.iters.update(extra["averages"]["counts"])

    def _is_done(self) -> bool:
        return bool(self._trainer.epochs_done < self._begin.epoch)

    def _unless_done(self, stock: Callable[[], Any]) -> Callable[[], Any]:
        def unless_done() -> Any:
            if self._is_done():
                return None
            self._resume_here()
            return stock()

        return unless_done

    def _train_epoch(self, stock: Callable[[], None]) -> Callable[[], None]:
        def train_epoch() -> None:
            trainer, begin = self._trainer, self._begin
            if self._is_done() or (begin.evaluate and trainer.epochs_done == begin.epoch):
                return
            loader, extra = trainer.train_loader, self._pending
            if extra is not None and begin.batches:
                self._skipped = begin.batches
                at_start = extra["at_start"]
                trainer.train_loader = RestOfEpoch(
                    loader,
                    done=begin.batches,
                    at_start=lambda: restore(at_start),
                    at_place=self._resume_here,
                )
                self._mark(begin, extra["generators"], at_start)
            else:
                self._resume_here()
                generators = capture()
                self._mark(Position(epoch=trainer.epochs_done), generators, generators)
            stock()
            trainer.train_loader, self._skipped = loader, 0
            self._mark(Position(epoch=trainer.epochs_done, evaluate=True))

        return train_epoch

    def _eval_epoch(self, stock: Callable[[], None]) -> Callable[[], None]:
        def eval_epoch() -> None:
            if self._place is None:  # the base's evaluation, or the one that was interrupted
                generators = capture()
                position = Position(epoch=self._trainer.epochs_done, evaluate=True)
                self._mark(position, generators, generators)
            stock()

        return eval_epoch

    # --- keeping ---------------------------------------------------------------------------------

    def _mark(
        self,
        position: Position,
        generators: Generators | None = None,
        at_start: Generators | None = None,
    ) -> None:
        now = capture() if generators is None else generators
        if at_start is None:
            at_start = self._place.at_start if self._place and position.is_inside else now
        self._place = _Place(position, now, at_start)

    def _counted(self, stock: Callable[..., Any]) -> Callable[..., Any]:
        def train_step(batch: Any, batches: int, step: int, began: float) -> Any:
            self._is_inside_step = True
            result = stock(batch, batches, step + self._skipped, began)
            done = step + self._skipped + 1
            self._mark(Position(epoch=self._trainer.epochs_done, batches=done))
            self._is_inside_step = False
            return result

        return train_step

    def _kept(self, recorded: Callable[..., Any]) -> Callable[..., Any]:
        def train_step(*args: Any) -> Any:
            result = recorded(*args)
            self._is_due |= self._trainer.total_steps_done % self._save_step == 0
            # Gradients in the making would have to be saved, too: wait for their update.
            if self._is_due and not self._gradients():
                self._save()
                self._is_due = False
            self._stop.check()
            return result

        return train_step

    def _stoppable(self, recorded: Callable[..., Any]) -> Callable[..., Any]:
        def eval_step(*args: Any, **kwargs: Any) -> Any:
            self._stop.check()
            return recorded(*args, **kwargs)

        return eval_step

    def _save(self) -> Path:
        path = self._directory / f"checkpoint_{self._trainer.total_steps_done}.pth"
        self._write(path, self._losses())
        keep_newest(self._directory, "checkpoint", self._keep)
        return path

    def _save_best(self) -> None:
        trainer, config, place = self._trainer, self._trainer.config, self._place
        self._mark(Position(epoch=trainer.epochs_done + 1))
        losses = self._losses()
        kind = "train_loss"
        if losses["eval_loss"] is not None and trainer.best_loss["eval_loss"] is not None:
            kind = "eval_loss"
        steps = trainer.total_steps_done
        if steps <= int(config.save_best_after) or not losses[kind] < trainer.best_loss[kind]:
            return
        before, trainer.best_loss = trainer.best_loss, losses
        path = self._directory / f"best_model_{steps}.pth"
        try:
            self._write(path, losses)
            share(path, BEST_NAME)
        except BaseException:
            # What is saved after this must judge this epoch anew, or its model would be lost.
            trainer.best_loss, self._place = before, place
            raise
        if not config.save_all_best:
            keep_newest(self._directory, "best_model", 1)

    def _losses(self) -> dict[str, Any]:
        pick = self._trainer._pick_target_avg_loss
        return {
            "train_loss": pick(self._trainer.keep_avg_train),
            "eval_loss": pick(self._trainer.keep_avg_eval),
        }

    def _write(self, path: Path, losses: dict[str, Any]) -> None:
        trainer = self._trainer
        state = {  # as trainer's own `save_model` has it
            "config": trainer.config.to_dict(),
            "model": trainer.model.state_dict(),
            "optimizer": sole(trainer.optimizer).state_dict(),
            "scaler": trainer.scaler.state_dict() if trainer.use_amp_scaler else None,
            "step": trainer.total_steps_done,
            "epoch": trainer.epochs_done,
            "date": date.today().strftime("%B %d, %Y"),
            "model_loss": losses,
        }
        write_checkpoint({**state, EXTRA: self._extra()}, path)
        self._saved = self._place.position if self._place else None

    def _extra(self) -> dict[str, Any]:
        trainer, place = self._trainer, self._place
        assert place is not None  # nothing is saved before the first mark
        average = trainer.keep_avg_train
        scheduler = sole(trainer.scheduler)
        schedule = scheduler.state_dict() if scheduler is not None else {}
        return {
            "position": place.position.as_dict(),
            "generators": place.generators,
            "at_start": place.at_start,
            # what is no plain value comes from the config, as the optimizer's parameters do
            "scheduler": {key: value for key, value in schedule.items() if type(value) in _PLAIN},
            "averages": {"values": dict(average.avg_values), "counts": dict(average.iters)},
            "best_loss": dict(trainer.best_loss),
            "gradients": self._gradients(),
        }

    def _gradients(self) -> dict[int, Any]:
        """Return the gradients accumulated since the last update, by number of the parameter."""
        numbered = enumerate(parameters(self._trainer))
        return {number: p.grad for number, p in numbered if p.grad is not None}
