"""``xttsreg train``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from xttsreg.cli.context import App, common_options, json_option, license_option
from xttsreg.cli.output import print_json, say
from xttsreg.cli.slurm import COMMON, Cluster, follow_job, slurm_options
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidInputError, InvalidModel

if TYPE_CHECKING:
    from xttsreg.training.request import Voice


@click.command("train")
@click.option("--model", metavar="REF", help="Weight set to start from.")
@click.option("--dataset", metavar="DIR|REF",
              help="A directory, or a dataset of the store; ./x: a directory.")  # fmt: skip
@click.option("--name", metavar="VOICE[:TAG]",
              help="What the voice is called; the tag is v1 if not given.")  # fmt: skip
@click.option("--formatter", default="ljspeech", show_default=True,
              help="How TTS reads the dataset's metadata.")  # fmt: skip
@click.option("--metadata", default="metadata.csv", show_default=True)
@click.option("--metadata-eval", default="", help="Default: clips split off from --metadata.")
@click.option("--language", help="Of the texts, e.g. en.")
@click.option("--epochs", default=10, show_default=True)
@click.option("--batch-size", default=3, show_default=True, help="Clips in one step.")
@click.option("--grad-accum", default=84, show_default=True,
              help="Steps per update. Batch size times this should be 252 or more.")  # fmt: skip
@click.option("--lr", default=5e-6, show_default=True, help="Learning rate.")
@click.option("--save-step", default=1000, show_default=True, help="Steps between checkpoints.")
@click.option("--keep", default=1, show_default=True,
              help="How many of these to keep; the best model is kept besides.")  # fmt: skip
@click.option("--eval-split", default=0.01, show_default=True,
              help="Fraction, or number from 1 on, of clips to evaluate on.")  # fmt: skip
@click.option("--workers", type=int,
              help="Processes that load clips.  [default: the job's cores, up to 8]")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True)  # fmt: skip
@click.option("--gpus", default="", metavar="LIST",
              help="Train on several, e.g. 0,1,2,3: one process each.")  # fmt: skip
@click.option("--processes", type=int, metavar="N",
              help="How many train together.  [default: one for each of --gpus]")  # fmt: skip
@click.option("--seed", default=1, show_default=True)
@click.option("--speaker-wav", type=click.Path(path_type=Path), metavar="WAV",
              help="A clip of the speaker: kept in the voice, and used for the report's samples.",
              )  # fmt: skip
@click.option("--samples/--no-samples", default=True, show_default=True,
              help="Speak a sentence before and after for the report; takes a while on a CPU.",
              )  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR",
              help="The run's folder.  [default: below XTTSREG_HOME]")  # fmt: skip
@click.option("--from", "shared", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="A store that has the model, if --store has not; it may be read-only.",
              )  # fmt: skip
@click.option("-o", "overrides", multiple=True, metavar="KEY=VALUE",
              help="A field of the trainer's config, e.g. optimizer_params.eps=1e-9.")  # fmt: skip
@click.option("--resume", metavar="RUN",
              help="Go on with a run: its folder, or its name in `xttsreg runs`. It knows its "
              "model, dataset, name and options.")  # fmt: skip
@slurm_options
@license_option
@json_option
@common_options
@click.pass_context
def train_command(
    context: click.Context,
    /,
    model: str | None,
    name: str | None,
    output: Path | None,
    resume: str | None,
    speaker_wav: Path | None,
    samples: bool,
    shared: Path | None,
    overrides: tuple[str, ...],
    accept_license: bool,
    as_json: bool,
    workers: int | None,
    processes: int | None,
    slurm: tuple[str, ...],
    detach: bool,
    pull: str | None,
    follow: str | None,
    **options: Any,
) -> int | None:
    """Fine-tune XTTS_v2 without a network, and register the voice.

    The weights come from the store, verified, so there is no restore_path. Before the first step
    every tensor is compared with the checkpoint.
    """
    app = context.ensure_object(App)
    if follow is not None:
        _require_alone(context)
        return follow_job(follow, app)
    cluster = Cluster.of(
        slurm, pull=pull, detach=detach, as_json=as_json, accept_license=accept_license
    )
    together = _processes(processes, options["gpus"])
    chosen = {**options, "overrides": _pairs(overrides), "processes": together, "workers": workers}
    if resume is not None:
        whole = {
            **chosen,
            "processes": processes,
            "model": model,
            "name": name,
            "output": output,
            "shared": shared,
        }
        given = _given(context, whole)
        if cluster:
            return cluster.go_on(context, app, *_found(app, resume, given))
        _leave_network(app)
        _show(_resume(app, resume, given, accept_license), as_json)
        return None
    _require(model=model, dataset=options["dataset"], name=name, language=options["language"])
    from xttsreg.ops.sources import find_dataset
    from xttsreg.stores.layout import LayoutStore
    from xttsreg.training.finetune import finetune
    from xttsreg.training.options import TrainOptions, default_workers
    from xttsreg.training.request import Request
    from xttsreg.training.runs import default_folder

    reference, voice = _reference(str(model), app), _voice(str(name))
    if cluster is None:
        _leave_network(app)
    store = app.store(create=bool(shared or pull))
    source = find_dataset(store, chosen["dataset"])
    if workers is None:
        chosen["workers"] = default_workers(together)
    request = Request(
        model=reference,
        voice=voice,
        options=TrainOptions(**{**chosen, "dataset": Path(str(source))}),
        dataset=source if isinstance(source, Reference) else None,
        output=output or default_folder(voice),
        speaker_wav=speaker_wav,
        samples=samples,
        shared=LayoutStore.open_existing(shared) if shared else None,
    )
    if cluster:
        return cluster.begin(context, app, store, request)
    done = finetune(
        store, app.catalog(), request,
        ask=app.ask(accept_license), progress=app.progress(), on_event=_tell(app),
    )  # fmt: skip
    _show(done, as_json)
    return None


def _require_alone(context: click.Context) -> None:
    """Refuse what would be passed over: ``--follow`` shows a job, and changes nothing of it."""
    for option in context.command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        if name not in COMMON | {"follow"} and source is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--follow shows a job as it is: leave {option.opts[0]} out")


def _leave_network(app: App) -> None:
    """Here and not below: it is for the whole process, for good, and before there are threads."""
    from xttsreg.training import network

    way = network.cut_off_if_possible()
    if not app.quiet:
        say(f"network: {network.WAYS[way]}")


def _resume(app: App, run: str, given: dict[str, Any], accept_license: bool) -> Voice:
    from xttsreg.training.finetune import resume

    directory, given = _found(app, run, given)
    return resume(
        app.store(create="shared" in given), app.catalog(), directory, given,
        ask=app.ask(accept_license), progress=app.progress(), on_event=_tell(app),
    )  # fmt: skip


def _found(app: App, run: str, given: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    from xttsreg.ops.sources import find_dataset
    from xttsreg.training.resume import find_run

    directory = find_run(run)  # first: a wrong file needs no store to be named
    if "dataset" in given:
        given = {**given, "dataset": find_dataset(app.store(), given["dataset"])}
    return directory, given


def _given(context: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    """What was written on the command line, in the form that a run remembers it in."""
    given = {
        name: value
        for name, value in values.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if "model" in given:
        given["model"] = Reference.parse(given["model"]).tagged
    if "name" in given:
        given["name"] = _voice(given["name"]).tagged
    if {"gpus", "processes"} & set(given):
        given["processes"] = _processes(values["processes"], values["gpus"])
    if "output" in given:
        given["output"] = given["output"].resolve()
    return given


def _show(done: Voice, as_json: bool) -> None:
    if as_json:
        print_json(done.as_dict())
        return
    say(f"run folder: {done.run.directory}")
    if done.report:
        say(f"report: {done.report}")
    click.echo(f"{done.voice}@{done.manifest.digest}")


def _require(**values: object) -> None:
    missing = [f"--{name}" for name, value in values.items() if value is None]
    if missing:
        raise click.UsageError(f"missing {', '.join(missing)} (only --resume RUN knows them)")


def _voice(name: str) -> Reference:
    return Reference.parse(name if ":" in name else f"{name}:v1")


def _reference(model: str, app: App) -> Reference:
    """A reference; a file in its place gets the answer to "0 / N layers are restored"."""
    if model.endswith((".pth", ".pt")):
        from xttsreg.ops.inspecting import inspect_file

        found = inspect_file(Path(model), app.catalog())
        raise InvalidModel(
            f"{model}: a file, where the name of a weight set is wanted. It is {found['meaning']}",
            hint=f"`xttsreg add NAME {Path(model).parent}` takes it in with the files beside it; "
            "then train with --model NAME",
        )
    return Reference.parse(model)


def _processes(given: int | None, gpus: str) -> int:
    """One for each GPU; another number is a slip, which `TrainOptions` tells."""
    named = len(gpus.split(",")) if gpus else 1
    return named if given is None else given


def _pairs(overrides: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidInputError(f"-o {text!r}: not KEY=VALUE")
        pairs[key.strip()] = value
    return pairs


def _tell(app: App) -> Any:
    """Lines for people about what the trainer does; its own output is in the run's log."""

    def tell(event: dict[str, Any]) -> None:
        line = _LINES.get(event["event"])
        if line is not None and not app.quiet:
            say(line(event))

    return tell


def _resumed(event: dict[str, Any]) -> str:
    if not event["checkpoint"]:
        return "going on from the beginning: there is no checkpoint yet"
    return f"going on from {event['checkpoint']}, after step {event['step']}"


def _dataset(event: dict[str, Any]) -> str:
    counts = f"dataset: {event['train_clips']} clips to train, {event['eval_clips']} to check"
    dropped = [f"{n} left out ({why})" for why, n in event["dropped"].items() if n]
    return "\n  ".join([", ".join([counts, *dropped]), *event.get("warnings", ())])


_LINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "resumed": lambda e: "\n".join([*e["skipped"], _resumed(e)]),
    "stopping": lambda e: (
        "stopping after this step, and saving; Ctrl-C again stops at once, unsaved"
    ),
    "dataset": _dataset,
    "team": lambda e: f"{e['processes']} processes: {e['clips_per_update']} clips an update",
    "proof": lambda e: f"restored: {e['restored']} / {e['total']} layers, values compared",
    "step": lambda e: f"epoch {e['epoch']}  step {e['step']}  loss {e['loss']:.4f}",
    "eval": lambda e: f"epoch {e['epoch']}  evaluation loss {e['loss']:.4f}",
}
