"""``xttsreg train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xttsreg.cli.context import App, common_options, json_option, license_option, pass_app
from xttsreg.cli.output import print_json, say
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidInputError


@click.command("train")
@click.option("--model", required=True, metavar="REF", help="Weight set to start from.")
@click.option("--dataset", required=True, type=click.Path(path_type=Path), metavar="DIR")
@click.option("--name", required=True, metavar="VOICE[:TAG]",
              help="What the voice is called; the tag is v1 if not given.")  # fmt: skip
@click.option("--formatter", default="ljspeech", show_default=True,
              help="How TTS reads the dataset's metadata.")  # fmt: skip
@click.option("--metadata", default="metadata.csv", show_default=True)
@click.option("--metadata-eval", default="", help="Default: clips split off from --metadata.")
@click.option("--language", required=True, help="Of the texts, e.g. en.")
@click.option("--epochs", default=10, show_default=True)
@click.option("--batch-size", default=3, show_default=True, help="Clips in one step.")
@click.option("--grad-accum", default=84, show_default=True,
              help="Steps per update. Batch size times this should be 252 or more.")  # fmt: skip
@click.option("--lr", default=5e-6, show_default=True, help="Learning rate.")
@click.option("--save-step", default=1000, show_default=True, help="Steps between checkpoints.")
@click.option("--eval-split", default=0.01, show_default=True,
              help="Fraction, or number from 1 on, of clips to evaluate on.")  # fmt: skip
@click.option("--workers", type=int, help="Processes that load clips.  [default: cores, up to 8]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True)  # fmt: skip
@click.option("--seed", default=1, show_default=True)
@click.option("--speaker-wav", type=click.Path(path_type=Path), metavar="WAV",
              help="A clip of the speaker: kept in the voice, and used for the report's samples.",
              )  # fmt: skip
@click.option("--samples/--no-samples", default=True, show_default=True,
              help="Speak a sentence before and after for the report; takes a while on a CPU.",
              )  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR",
              help="The run's folder.  [default: below XTTSREG_HOME]")  # fmt: skip
@click.option("-o", "overrides", multiple=True, metavar="KEY=VALUE",
              help="A field of the trainer's config, e.g. optimizer_params.eps=1e-9.")  # fmt: skip
@license_option
@json_option
@common_options
@pass_app
def train_command(
    app: App,
    /,
    model: str,
    name: str,
    output: Path | None,
    speaker_wav: Path | None,
    samples: bool,
    overrides: tuple[str, ...],
    accept_license: bool,
    as_json: bool,
    workers: int | None,
    **options: Any,
) -> None:
    """Fine-tune XTTS_v2 without a network, and register the voice.

    The weights come from the store, verified, so there is no restore_path. Before the first step
    every tensor is compared with the checkpoint.
    """
    from xttsreg.training.finetune import Request, finetune
    from xttsreg.training.options import TrainOptions

    chosen = {**options, "overrides": _pairs(overrides)}
    if workers is not None:
        chosen["workers"] = workers
    request = Request(
        model=Reference.parse(model),
        voice=Reference.parse(name if ":" in name else f"{name}:v1"),
        options=TrainOptions(**chosen),
        output=output,
        speaker_wav=speaker_wav,
        samples=samples,
    )
    done = finetune(
        app.store(), app.catalog(), request,
        ask=app.ask(accept_license), progress=app.progress(), on_event=_tell(app),
    )  # fmt: skip
    if as_json:
        print_json(done.as_dict())
        return
    say(f"run folder: {done.run.directory}")
    if done.report:
        say(f"report: {done.report}")
    click.echo(f"{done.voice}@{done.manifest.digest}")


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
        line = _LINES.get(event["event"], lambda e: "")(event)
        if line and not app.quiet:
            say(line)

    return tell


_LINES = {
    "dataset": lambda e: "\n".join(
        [
            f"dataset: {e['train_clips']} clips to train, {e['eval_clips']} to check",
            *(f"  {text}" for text in e.get("warnings", ())),
        ]
    ),  # fmt: skip
    "proof": lambda e: f"restored: {e['restored']} / {e['total']} layers, values compared",
    "step": lambda e: f"epoch {e['epoch']}  step {e['step']}  loss {e['loss']:.4f}",
    "eval": lambda e: f"epoch {e['epoch']}  evaluation loss {e['loss']:.4f}",
}
