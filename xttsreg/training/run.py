"""One training run: check, guard, construct, prove, train."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from xttsreg.errors import AlreadyExists, InvalidInputError, OfflineViolation, XttsregError
from xttsreg.training.construct import construct, require_trainable
from xttsreg.training.dataset import Limits, LoadedDataset, load_dataset
from xttsreg.training.environment import prepare_environment, require_training, versions
from xttsreg.training.guard import OfflineGuard, offline_guard
from xttsreg.training.masking import define_empty_loss, eval_batch_size
from xttsreg.training.metrics import Event, Recorder
from xttsreg.training.options import TrainOptions
from xttsreg.training.proof import Proof, prove_restore
from xttsreg.training.recipe import build_config
from xttsreg.training.result import RunResult
from xttsreg.training.session import quiet, run_folder

LOG_NAME = "trainer_0_log.txt"
BEST_NAME = "best_model.pth"
VIEW_NAME = "view"  # a view may lie in the run's folder; it is the caller's, and left alone


@dataclass(slots=True)
class _Prepared:
    config: Any
    model: Any
    data: LoadedDataset
    proof: Proof


def train(
    view: Path,
    options: TrainOptions,
    output: Path,
    *,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> RunResult:
    """Fine-tune from a view. Nothing beyond loopback can be reached meanwhile.

    The folder gets ``run.json`` (state and result), ``proof.json``, ``metrics.jsonl``,
    ``trainer_0_log.txt``, the trainer's ``config.json`` and its checkpoints. A run that fails
    before the first step leaves no folder; one that fails later, or is interrupted, keeps it.

    Args:
        view: Directory with the files of a weight set; only read.
        options: What the user chose.
        output: Folder of the run; absent or empty, but for a view.
        on_event: Called with dictionaries whose ``event`` is dataset, model, proof, step, eval or
            finished.

    Returns:
        The result.

    Raises:
        XttsregError: see the modules for which; every known failure stops before the first step.
        KeyboardInterrupt: Ctrl-C; a checkpoint has been saved.
    """
    require_training()
    require_trainable(view)
    prepare_environment(options.device)
    started = _now()
    tell = _listener(on_event)
    made, trained = _make_folder(output), False
    try:
        with ExitStack() as stack:
            stack.enter_context(quiet(output / LOG_NAME))
            guard = stack.enter_context(offline_guard())
            _check_device(options.device)
            prepared = _prepare(view, options, output, tell)
            trained = True  # from here on there is something to keep
            result = _Run(prepared, options, output, started, guard).fit(tell)
    except BaseException:
        if not trained:
            _discard(output, with_folder=made)
        raise
    tell({"event": "finished", "best_checkpoint": str(result.best_checkpoint)})
    return result


def _prepare(
    view: Path, options: TrainOptions, output: Path, tell: Callable[[Event], None]
) -> _Prepared:
    config = build_config(view.absolute(), options, output.absolute())
    data = load_dataset(options, view=view, limits=_limits(config.model_args))
    tell({"event": "dataset", **data.summary.as_dict()})
    model = construct(config, view)
    tell({"event": "model"})
    proof = prove_restore(model, view)
    define_empty_loss(model)
    if data.evaluation:
        config.eval_batch_size = eval_batch_size(len(data.evaluation), options.batch_size)
    _write_json(output / "proof.json", proof.as_dict())
    tell({"event": "proof", **proof.as_dict()})
    return _Prepared(config, model, data, proof)


def _limits(args: Any) -> Limits:
    """Return what fits the recipe and the model's own positions; beyond those it would crash."""
    positions = (args.gpt_max_audio_tokens - 3) * args.gpt_code_stride_len
    return Limits(
        max_wav_length=min(args.max_wav_length, positions), max_text_length=args.max_text_length
    )


class _Run:
    """Drives the stock trainer and writes down the state of the run."""

    def __init__(
        self,
        prepared: _Prepared,
        options: TrainOptions,
        output: Path,
        started: str,
        guard: OfflineGuard,
    ) -> None:
        self._prepared = prepared
        self._options = options
        self._output = output
        self._started = started
        self._guard = guard

    def fit(self, tell: Callable[[Event], None]) -> RunResult:
        self._write_state("running")
        try:
            with Recorder(self._output / "metrics.jsonl", tell) as recorder:
                self._fit(recorder)
            result = self._result(recorder)
        except KeyboardInterrupt:
            self._write_state("interrupted")
            raise
        except XttsregError as error:
            self._write_state("failed", error=error.message)
            raise
        except Exception as error:
            self._write_state("failed", error=repr(error))
            raise _explained(error, self._output) from error
        self._write_state("finished", **result.as_dict())
        return result

    def _fit(self, recorder: Recorder) -> None:
        from trainer import Trainer, TrainerArgs

        args = TrainerArgs(
            restore_path="",  # the base comes through model_args.xtts_checkpoint, and is proved
            skip_train_epoch=False,
            start_with_eval=bool(self._prepared.config.run_eval),
            grad_accum_steps=self._options.grad_accum,
        )
        with run_folder(self._output):
            trainer = Trainer(
                args,
                self._prepared.config,
                output_path=str(self._output),
                model=self._prepared.model,
                train_samples=self._prepared.data.train,
                eval_samples=self._prepared.data.evaluation,
                parse_command_line_args=False,
            )
            recorder.attach(trainer)
            try:
                # fit() would turn every exception into sys.exit and may remove the folder
                trainer._fit()
            except KeyboardInterrupt:
                trainer.save_checkpoint()
                raise
            finally:
                trainer.dashboard_logger.finish()

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
            started=self._started,
            finished=_now(),
            violations=violations,
        )

    def _write_state(self, state: str, **more: Any) -> None:
        content = {"state": state, "started": self._started, **more}
        _write_json(self._output / "run.json", content)


def _discard(output: Path, *, with_folder: bool) -> None:
    """Remove what a run that never began has written."""
    for path in output.iterdir():
        if path.name != VIEW_NAME:
            path.unlink(missing_ok=True)
    if with_folder:
        output.rmdir()


def _make_folder(output: Path) -> bool:
    """Make the folder of the run; return whether it was made, or there already and empty."""
    existed = output.exists()
    if existed and (not output.is_dir() or {p.name for p in output.iterdir()} - {VIEW_NAME}):
        raise AlreadyExists(f"{output} is there already", hint="choose another output directory")
    output.mkdir(parents=True, exist_ok=True)
    return not existed


def _check_device(device: str) -> None:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidInputError(
            "no usable GPU: torch sees none", hint="use --device cpu, or check `nvidia-smi`"
        )


def _explained(error: Exception, output: Path) -> XttsregError:
    origin: BaseException | None = error
    while origin is not None:
        if isinstance(origin, OfflineViolation):
            return origin
        origin = origin.__cause__ or origin.__context__
    line = (str(error).strip() or "no message").splitlines()[0]
    hint = f"checkpoints saved so far are kept in {output}; the log is {LOG_NAME} there"
    if "out of memory" in line.lower():
        hint = "halve --batch-size and double --grad-accum; " + hint
    return XttsregError(f"training stopped: {type(error).__name__}: {line}", hint=hint)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)


def _listener(on_event: Callable[[Event], None] | None) -> Callable[[Event], None]:
    """Give a listener back the standard output that the run's own is redirected from."""
    stream = sys.stdout

    def tell(event: Event) -> None:
        if on_event is not None:
            with redirect_stdout(stream):
                on_event(event)

    return tell


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
