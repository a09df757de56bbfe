"""``xttsreg synth``."""

from __future__ import annotations

from pathlib import Path

import click

from xttsreg.cli.context import App, common_options, json_option, pass_app
from xttsreg.cli.output import print_json, say
from xttsreg.content.reference import Reference


@click.command("synth")
@click.argument("ref")
@click.option("--text", required=True)
@click.option("--language", required=True, help="Of the text, e.g. en.")
@click.option("--speaker-wav", required=True, type=click.Path(path_type=Path),
              help="A clip of the voice, a few seconds long.")  # fmt: skip
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="WAV")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True)  # fmt: skip
@click.option("--seed", type=int, help="The same seed gives the same speech.")
@json_option
@common_options
@pass_app
def synth_command(
    app: App,
    ref: str,
    text: str,
    language: str,
    speaker_wav: Path,
    output: Path,
    device: str,
    seed: int | None,
    as_json: bool,
) -> None:
    """Speak TEXT with the voice or weight set REF into a WAV file."""
    from xttsreg.training.speak import speak

    done = speak(
        app.store(), Reference.parse(ref), text,
        language=language, speaker_wav=speaker_wav, output=output, device=device, seed=seed,
    )  # fmt: skip
    if as_json:
        print_json(done.as_dict())
        return
    say(f"{done.seconds:.1f} s of speech")
    click.echo(str(output))
