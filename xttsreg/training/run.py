"""One training run: check, guard, construct, prove, train."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

from xttsreg.errors import AlreadyExists, InvalidInputError
from xttsreg.stores import durable
from xttsreg.training import network
from xttsreg.training.construct import construct, require_trainable
from xttsreg.training.dataset import Limits, load_dataset
from xttsreg.training.engine import require_engine
from xttsreg.training.environment import no_gpu_hint, prepare_environment, require_training
from xttsreg.training.explain import memory_explained
from xttsreg.training.fit import LOG_NAME, Fit, Prepared, now
from xttsreg.training.guard import offline_guard
from xttsreg.training.lead import lead
from xttsreg.training.masking import define_empty_loss, eval_batch_size
from xttsreg.training.metrics import Event
from xttsreg.training.options import TrainOptions
from xttsreg.training.proof import Proof, prove_restore
from xttsreg.training.recipe import build_config
from xttsreg.training.result import RunResult
from xttsreg.training.runs import LOCK_NAME, read_record, run_lock, write_record
from xttsreg.training.session import quiet

# Views may lie in the run's folder; they are the caller's, and left alone.
VIEW_NAME = "view"
DATASET_NAME = "dataset-view"


def train(
    view: Path,
    options: TrainOptions,
    output: Path,
    *,
    origin: Mapping[str, Any] | None = None,
    resume: bool = False,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> RunResult:
    """Fine-tune from a view. Nothing beyond loopback can be reached meanwhile.

    The folder gets ``run.json`` (state and result), ``proof.json``, ``metrics.jsonl``,
    ``trainer_0_log.txt``, the trainer's ``config.json`` and its checkpoints. A run that fails
    before the first step leaves no folder; one that fails later, or is interrupted, keeps it, and
    can be gone on with.

    Args:
        view: Directory with the files of a weight set; only read.
        options: What the user chose.
        output: Folder of the run; absent or empty, but for views, unless it is resumed.
        origin: Names and digests for run.json, e.g. of the model; the caller's to read again.
        resume: Go on with the run of this folder from its last checkpoint, as if it had never
            stopped: with the same options, the steps that follow are the same to the last digit.
        on_event: Called with dictionaries whose ``event`` is dataset, model, proof, resumed, step,
            eval, stopping or finished.

    Returns:
        The result.

    Raises:
        XttsregError: see the modules for which; every known failure stops before the first step.
        KeyboardInterrupt: Ctrl-C; a checkpoint has been saved.
    """
    require_training()
    require_trainable(view)
    prepare_environment(options.device, options.gpus)
    tell = _listener(on_event)
    made, trained = (False if resume else _make_folder(output)), resume
    try:
        with ExitStack() as stack:
            stack.enter_context(run_lock(output))
            stack.enter_context(memory_explained("the run was prepared"))
            record = _begin_record(output, options, origin, resume)
            stack.enter_context(quiet(output / LOG_NAME))
            guard = stack.enter_context(offline_guard())
            check_device(options)
            team = stack.enter_context(lead(view.absolute(), options, output))
            prepared = prepare(view, options, output, tell)
            trained = True  # from here on there is something to keep
            result = Fit(prepared, options, output, record, guard, team).fit(tell, resume=resume)
    except BaseException:
        if not trained:
            _discard(output, with_folder=made)
        raise
    tell({"event": "finished", "best_checkpoint": str(result.best_checkpoint)})
    return result


def _begin_record(
    output: Path, options: TrainOptions, origin: Mapping[str, Any] | None, resume: bool
) -> dict[str, Any]:
    """Write down what a later process needs to go on, before anything can go wrong."""
    record: dict[str, Any] = {
        "started": now(),
        "origin": dict(origin or {}),
        "options": options.as_dict(),
        "engine": require_engine().extra,
        "resumed": [],
        "network": network.way(),
    }
    if not resume:
        write_record(output, {**record, "state": "preparing"})
        return record
    before = read_record(output)  # stays until there is something new to say
    return {
        **record,
        "started": before["started"],
        "origin": {**before.get("origin", {}), **record["origin"]},
        "resumed": [*before.get("resumed", []), now()],
    }


def prepare(
    view: Path, options: TrainOptions, output: Path, tell: Callable[[Event], None]
) -> Prepared:
    """Read the dataset, construct the model, prove it; the proof is left in the folder."""
    config = build_config(view.absolute(), options, output.absolute())
    data = load_dataset(options, view=view, limits=_limits(config.model_args))
    tell({"event": "dataset", **data.summary.as_dict()})
    model = construct(config, view)
    tell({"event": "model"})
    if options.processes > 1:
        clips = options.batch_size * options.grad_accum * options.processes
        tell({"event": "team", "processes": options.processes, "clips_per_update": clips})
    proof = prove_restore(model, view)
    define_empty_loss(model)
    if data.evaluation:
        config.eval_batch_size = eval_batch_size(len(data.evaluation), options.batch_size)
    _write_proof(output, proof)
    tell({"event": "proof", **proof.as_dict()})
    return Prepared(config, model, data, proof)


def _limits(args: Any) -> Limits:
    """Return what fits the recipe and the model's own positions; beyond those it would crash."""
    positions = (args.gpt_max_audio_tokens - 3) * args.gpt_code_stride_len
    return Limits(
        max_wav_length=min(args.max_wav_length, positions), max_text_length=args.max_text_length
    )


def _discard(output: Path, *, with_folder: bool) -> None:
    """Remove what a run that never began has written."""
    for path in output.iterdir():
        if path.name in (VIEW_NAME, DATASET_NAME):
            continue
        if path.is_dir():  # of another process
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if with_folder:
        output.rmdir()


def _make_folder(output: Path) -> bool:
    """Make the folder of the run; return whether it was made, or there already and empty."""
    existed = output.exists()
    if existed and (
        not output.is_dir()
        or {p.name for p in output.iterdir()} - {VIEW_NAME, DATASET_NAME, LOCK_NAME}
    ):
        raise AlreadyExists(f"{output} is there already", hint="choose another output directory")
    output.mkdir(parents=True, exist_ok=True)
    return not existed


def check_device(options: TrainOptions) -> None:
    """Make sure that there is the GPU that was asked for.

    Raises:
        InvalidInputError: there is none.
    """
    import torch

    if (options.device == "cuda" or options.gpus) and not torch.cuda.is_available():
        raise InvalidInputError("no usable GPU: torch sees none", hint=no_gpu_hint())


def _write_proof(output: Path, proof: Proof) -> None:
    path = output / "proof.json"
    data = json.dumps(proof.as_dict(), indent=2, sort_keys=True).encode() + b"\n"
    durable.write_atomic(path, data, temporary=path.with_name(f".{path.name}.partial"))


def _listener(on_event: Callable[[Event], None] | None) -> Callable[[Event], None]:
    """Give a listener back the standard output that the run's own is redirected from."""
    stream = sys.stdout

    def tell(event: Event) -> None:
        if on_event is not None:
            with redirect_stdout(stream):
                on_event(event)

    return tell
