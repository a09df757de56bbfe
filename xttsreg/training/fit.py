"""The stock trainer at work on a prepared run."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from xttsreg.errors import InsufficientSpace, OfflineViolation, StoreError, XttsregError
from xttsreg.training.checkpoint import load_checked
from xttsreg.training.dataset import LoadedDataset
from xttsreg.training.environment import versions
from xttsreg.training.explain import chain, first_line, out_of_memory
from xttsreg.training.guard import OfflineGuard
from xttsreg.training.keeper import EXTRA, Keeper
from xttsreg.training.metrics import Event, Recorder
from xttsreg.training.options import TrainOptions
from xttsreg.training.position import capture
from xttsreg.training.proof import Proof
from xttsreg.training.result import RunResult
from xttsreg.training.resume import Resumed, load_last
from xttsreg.training.runs import METRICS_NAME, write_record
from xttsreg.training.saving import BEST_NAME, set_aside
from xttsreg.training.session import run_folder
from xttsreg.training.stopping import Stop
from xttsreg.training.team import LONE, Follower, Team

LOG_NAME = "trainer_0_log.txt"


@dataclass(slots=True)
class Prepared:
    """All that a trainer needs: the model is proved, the data are checked."""

    config: Any
    model: Any
    data: LoadedDataset
    proof: Proof


class Fit:
    """Drives the stock trainer and writes down the state of the run.

    Args:
        prepared: Config, proved model, data.
        options: What the user chose.
        output: Folder of the run.
        record: What run.json says beside the state.
        guard: In force.
        team: The processes of this run.
    """

    def __init__(
        self,
        prepared: Prepared,
        options: TrainOptions,
        output: Path,
        record: dict[str, Any],
        guard: OfflineGuard,
        team: Team = LONE,
    ) -> None:
        self._prepared = prepared
        self._options = options
        self._output = output
        self._record = record
        self._guard = guard
        self._team = team

    def fit(self, tell: Callable[[Event], None], *, resume: bool) -> RunResult:
        """Train to the end, from the base or from the run's last checkpoint.

        Raises:
            XttsregError: whatever happens; it is written down in run.json.
            KeyboardInterrupt: Ctrl-C; a checkpoint has been saved.
        """
        self._write_state("running")
        try:
            recorder = Recorder(self._output / METRICS_NAME, tell)
            with recorder, Stop(lambda: tell({"event": "stopping"})) as stop:
                self._fit(recorder, stop, tell, resume)
            result = self._result(recorder)
        except KeyboardInterrupt:
            self._write_state("interrupted")
            raise
        except XttsregError as error:
            self._write_state("failed", error=error.message)
            raise
        except Exception as error:
            told = self._team.cause(error) or explained(error, self._output)
            self._write_state("failed", error=told.message)
            raise told from error
        self._write_state("finished", **result.as_dict())
        return result

    def _fit(
        self, recorder: Recorder, stop: Stop, tell: Callable[[Event], None], resume: bool
    ) -> None:
        options = self._options
        keeper = Keeper(
            self._output,
            keep=options.keep,
            save_step=options.save_step,
            stop=stop,
            processes=options.processes,
        )
        with run_folder(self._output):
            trainer = self._trainer()
            resumed = self._go_back(recorder, tell) if resume else None
            content = resumed.content if resumed else None
            self._team.join(resumed.path if resumed else None)
            self._team.attach(trainer)
            del resumed
            keeper.attach(trainer, recorder, content)
            del content  # a mapped file, larger than the model
            try:
                # fit() would turn every exception into sys.exit and may remove the folder
                trainer._fit()
                self._team.agree(trainer)
            except KeyboardInterrupt:
                keeper.save_interrupted()
                raise
            finally:
                trainer.dashboard_logger.finish()

    def _trainer(self) -> Any:
        from trainer import Trainer, TrainerArgs

        args = TrainerArgs(
            restore_path="",  # the base comes through model_args.xtts_checkpoint, and is proved
            skip_train_epoch=False,
            start_with_eval=bool(self._prepared.config.run_eval),
            grad_accum_steps=self._options.grad_accum,
        )
        return Trainer(
            args,
            self._prepared.config,
            output_path=str(self._output),
            model=self._prepared.model,
            train_samples=self._prepared.data.train,
            eval_samples=self._prepared.data.evaluation,
            parse_command_line_args=False,
        )

    def follow(self, team: Follower) -> None:
        """Do the steps of a run that another process leads.

        Raises:
            XttsregError: as `fit`; the leader is to tell it.
        """
        never = Stop(lambda: None)
        keeper = Keeper(
            self._output, keep=1, save_step=sys.maxsize, stop=never, processes=team.size
        )
        with run_folder(self._output), Recorder(self._output / METRICS_NAME, _unheard) as recorder:
            trainer = self._trainer()
            checkpoint = team.wait()
            content = load_checked(checkpoint) if checkpoint else None
            seed = self._options.seed
            team.attach(trainer)
            if content is not None:
                team.seed(seed, content["step"])
                content[EXTRA] |= {"generators": capture(), "at_start": capture()}
            keeper.attach(trainer, recorder, content)
            team.seed(seed, content["step"] if content is not None else 0)
            team.idle(trainer)
            del content
            trainer._fit()
            team.agree(trainer)

    def _go_back(self, recorder: Recorder, tell: Callable[[Event], None]) -> Resumed:
        """Make the folder agree with the checkpoint that is gone on from, and return that."""
        resumed = load_last(self._output)
        set_aside(self._output, resumed.skipped)
        recorder.rewind(step=resumed.step, epoch=resumed.position.epoch)
        tell(
            {
                "event": "resumed",
                "step": resumed.step,
                "epoch": resumed.position.epoch,
                "checkpoint": resumed.path.name if resumed.path else "",
                "skipped": list(resumed.skipped.values()),
            }
        )
        return resumed

    def _result(self, recorder: Recorder) -> RunResult:
        best = self._output / BEST_NAME
        if not best.is_file():
            raise XttsregError(
                f"{self._output}: the run ended without a best model, no loss was a finite number",
                hint=f"see metrics.jsonl and {LOG_NAME} there",
            )
        violations = tuple(violation.message for violation in self._guard.violations)
        return RunResult(
            directory=self._output,
            best_checkpoint=best,
            step_losses=tuple(recorder.step_losses),
            eval_losses=tuple(recorder.eval_losses),
            proof=self._prepared.proof,
            dataset=self._prepared.data.summary,
            options=self._options.as_dict(),
            config=self._prepared.config.to_dict(),
            versions=versions(),
            started=str(self._record["started"]),
            finished=now(),
            violations=violations,
        )

    def _write_state(self, state: str, **more: Any) -> None:
        with suppress(StoreError):  # a full disk must not hide that it was full
            write_record(self._output, {**self._record, "state": state, **more})


def explained(error: Exception, output: Path) -> XttsregError:
    """Say what ended a run, and what to do.

    Args:
        error: Whatever was raised.
        output: The run's folder.
    """
    for origin in chain(error):
        if isinstance(origin, OfflineViolation):
            return origin
        if isinstance(origin, OSError) and origin.errno in (errno.ENOSPC, errno.EDQUOT):
            free_bytes = shutil.disk_usage(output).free
            return InsufficientSpace(
                str(output), needed_bytes=1, free_bytes=free_bytes, hint=_go_on(output)
            )
    if out_of_memory(error):
        return XttsregError(
            f"training stopped, memory ran out: {first_line(error)}",
            hint="begin anew with half the --batch-size and twice the --grad-accum, which learns "
            "the same; fewer --workers help the machine's own memory",
        )
    hint = f"the log is {LOG_NAME} there; " + _go_on(output)
    return XttsregError(f"training stopped: {first_line(error)}", hint=hint)


def _unheard(_: Event) -> None:
    """The leader tells."""


def _go_on(output: Path) -> str:
    return f"checkpoints are kept; when this is mended: xttsreg train --resume {output}"


def now() -> str:
    """Return the time in UTC, as it is written down."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
