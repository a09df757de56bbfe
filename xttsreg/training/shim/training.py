"""What ``GPTTrainer`` and ``Trainer`` do differently below ``exec``: a proof, and no surprises."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import json
import os
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from xttsreg.errors import InvalidModel, RestoreIncomplete
from xttsreg.training.blank import quick_build
from xttsreg.training.construct import check_fit
from xttsreg.training.explain import memory_explained
from xttsreg.training.proof import Proof, prove_restore
from xttsreg.training.shim import notes
from xttsreg.training.shim.legacy import patch_names
from xttsreg.training.shim.plan import Plan
from xttsreg.training.shim.restoring import keep_types, last_usable, require_run
from xttsreg.training.shim.samples import check_samples, drop_mute_sentences
from xttsreg.training.shim.weights import is_from_store, is_url, name_for, require_file

_SETTINGS = {  # field of GPTArgs: the file's name in a weight set
    "xtts_checkpoint": "model.pth",
    "dvae_checkpoint": "dvae.pth",
    "mel_norm_file": "mel_stats.pth",
    "tokenizer_file": "vocab.json",
}
_GPT = "xtts.gpt."
# Model to its proof; None for one that was built from nothing, which only a resume may train.
_proofs: WeakKeyDictionary[Any, Proof | None] = WeakKeyDictionary()


def patch_model(plan: Plan, module: Any) -> None:
    """Give ``GPTArgs`` the set's architecture, and prove every ``GPTTrainer`` that is built."""
    patch_names(module)
    _patch_args(plan, module.GPTArgs)
    trainer = module.GPTTrainer
    build = trainer.__init__

    @functools.wraps(build)
    def init(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        with notes.refusing(plan):
            view = _sources(plan, config.model_args)
            if view is not None:
                check_fit(view)
        # what a gpt_checkpoint of the recipe's own holds, nobody proves
        is_quick = view is not None and not config.model_args.gpt_checkpoint
        way = quick_build(_is_fixed) if is_quick else contextlib.nullcontext()
        with memory_explained("the model was built"), way:
            build(self, config, *args, **kwargs)
        with notes.refusing(plan):
            _proofs[self] = _prove(plan, self, view) if view is not None else None

    trainer.__init__ = init


def _is_fixed(path: Path) -> bool:
    """Whether the recipe cannot write to a file: what is mapped from it would change with it."""
    return not os.access(path, os.W_OK)


def _patch_args(plan: Plan, args_class: Any) -> None:
    """Let a recipe that says nothing about the model's size get the set's, not upstream's."""
    build = args_class.__init__
    order = [field.name for field in dataclasses.fields(args_class)]

    @functools.wraps(build)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        known = {
            name: value
            for name, value in plan.architecture.items()
            if name not in order[: len(args)]
        }
        build(self, *args, **{**known, **kwargs})

    args_class.__init__ = init


def _sources(plan: Plan, args: Any) -> Path | None:
    """Return a directory with the files that a model is built from, under a set's names.

    Raises:
        XttsregError: a path of the recipe is empty or wrong.
    """
    if not args.xtts_checkpoint:
        return None
    paths = {}
    for setting, name in _SETTINGS.items():
        value = getattr(args, setting)
        if is_url(value):
            paths[name] = plan.view / name_for(plan, value)
        else:
            paths[name] = require_file(value, setting)
    for name, path in paths.items():
        if not is_from_store(plan, name, path):
            notes.tell(f"xttsreg: {path} is the recipe's own, it is not the file of {plan.model}")
    folder = paths["model.pth"].parent
    if all(path.absolute() == folder.absolute() / name for name, path in paths.items()):
        return folder
    return _gather(plan, paths)


def _gather(plan: Plan, paths: dict[str, Path]) -> Path:
    folder = plan.state / f"sources-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    for name, path in paths.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(path.absolute())
    return folder


def _prove(plan: Plan, model: Any, view: Path) -> Proof | None:
    try:
        proof = prove_restore(model, view)
    except RestoreIncomplete as error:
        names = [*error.missing, *error.unexpected, *error.different]
        if not model.args.gpt_checkpoint or not all(name.startswith(_GPT) for name in names):
            raise
        notes.tell("xttsreg: restored, but for gpt, which is the recipe's own gpt_checkpoint")
        return None
    if _is_first_rank():
        for line in table(proof):
            notes.tell(line)
    return proof


def table(proof: Proof) -> list[str]:
    """Return a proof as lines of a table by part."""
    counts = {name: f"{part.restored} / {part.total}" for name, part in proof.parts.items()}
    counts["total"] = str(proof)
    width = max(map(len, counts.values()))
    return ["restored, by value", *(f"  {n:<16} {c:>{width}}" for n, c in counts.items())]


def patch_trainer(plan: Plan, module: Any) -> None:
    """Check what a ``Trainer`` is about to restore, and write the proof into its folder."""
    last = module.get_last_checkpoint

    @functools.wraps(last)
    def get_last_checkpoint(path: str) -> tuple[str, str]:
        with notes.refusing(plan):
            return last_usable(last, path)

    module.get_last_checkpoint = get_last_checkpoint
    _patch_init(plan, module.Trainer)
    _patch_restore(plan, module.Trainer)
    _patch_fit(plan, module.Trainer)


def _patch_init(plan: Plan, trainer: Any) -> None:
    build = trainer.__init__

    @functools.wraps(build)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        given = inspect.signature(build).bind(self, *args, **kwargs)
        given.apply_defaults()
        made = given.arguments
        reads = made["parse_command_line_args"] or made["args"].continue_path
        if not (reads or made["args"].restore_path):  # else init_training knows more
            _check_plan(plan, made, made["args"], made["config"])
        _building.append(made)
        try:
            build(self, *args, **kwargs)
        finally:
            _building.pop()
        _write_proof(self, made["model"])

    trainer.__init__ = init


def _patch_restore(plan: Plan, trainer: Any) -> None:
    """Check where the command line is read, before the folder of the run is made."""
    prepare = trainer.init_training

    @functools.wraps(prepare)
    def init_training(args: Any, coqpit_overrides: Any, config: Any = None) -> Any:
        names = [name for name in ("model_args", "audio") if hasattr(config, name)]
        before = {name: type(getattr(config, name)) for name in names}
        result = prepare(args, coqpit_overrides, config)
        if args.continue_path and config is not None:
            keep_types(config, before, Path(args.continue_path))
        with notes.refusing(plan):
            if args.restore_path:
                require_run(plan, args.restore_path)
        if _building:
            _check_plan(plan, _building[-1], args, config)
        return result

    trainer.init_training = staticmethod(init_training)


def _patch_fit(plan: Plan, trainer: Any) -> None:
    fit = trainer._fit

    @functools.wraps(fit)
    def _fit(self: Any) -> None:
        try:
            fit(self)
        except Exception as error:  # the trainer's own handler turns it into exit code 1
            found = notes.cause(error) or notes.memory(error)
            if found is not None:
                notes.leave(plan, notes.FATAL, found)
            raise

    trainer._fit = _fit


_building: list[dict[str, Any]] = []  # arguments of the trainers being made, innermost last


def _check_plan(plan: Plan, made: dict[str, Any], args: Any, config: Any) -> None:
    """Look at all that a trainer is about to use, before the folder of the run is made.

    Args:
        plan: Of this run.
        made: What the trainer is made from.
        args: Its own arguments, with those of the command line.
        config: The same.
    """
    model = made["model"]
    _require_weights(plan, model, args)
    if model not in _proofs:
        return  # another kind of model
    drop_mute_sentences(config, notes.tell)
    if model.config is not config:  # in coqui-tts the model keeps a copy
        drop_mute_sentences(model.config, lambda _: None)
    with notes.refusing(plan):
        check_samples(
            config, model.xtts.tokenizer, made["train_samples"], made["eval_samples"],
            told=_is_first_rank(),
        )  # fmt: skip


def _require_weights(plan: Plan, model: Any, args: Any) -> None:
    """Refuse a model of random numbers that nothing is restored into.

    Raises:
        InvalidModel: as said.
    """
    resumes = args.restore_path or args.continue_path
    if resumes or model is None or _proofs.get(model, model) is not None:
        return
    if model.args.xtts_checkpoint:
        return  # built with a gpt_checkpoint, which was said
    with notes.refusing(plan):
        raise InvalidModel(
            "GPTArgs(xtts_checkpoint=...) is empty: the model holds random numbers, and noise "
            "would be trained",
            hint="give it the path of model.pth, as the stock recipe does",
        )


def _write_proof(trainer: Any, model: Any) -> None:
    proof = _proofs.get(model) if model is not None else None
    if proof is not None and trainer.args.rank in (None, 0):
        path = Path(trainer.output_path) / "proof.json"
        path.write_text(json.dumps(proof.as_dict(), indent=2, sort_keys=True) + "\n", "utf-8")


def _is_first_rank() -> bool:
    return os.environ.get("RANK", "0") == "0"
