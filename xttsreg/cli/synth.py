"""``xttsreg synth``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from xttsreg.cli.context import App, common_options, json_option, pass_app
from xttsreg.cli.output import print_json, say
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidInputError

_STANDARD = "-"


@click.command("synth")
@click.argument("ref")
@click.option("--text", help="What to say; - reads standard input.")
@click.option("--text-file", type=click.Path(path_type=Path), metavar="FILE", help="UTF-8.")
@click.option("--language", required=True, help="Of the text, e.g. en.")
@click.option("--speaker-wav", type=click.Path(path_type=Path),
              help="A clip of the voice, a few seconds long.  [default: the voice's own]",
              )  # fmt: skip
@click.option("-o", "--output", required=True, metavar="WAV",
              help="- streams to standard output, each piece when it is spoken.")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True)  # fmt: skip
@click.option("--seed", type=int, help="The same seed gives the same speech.")
@json_option
@common_options
@pass_app
def synth_command(
    app: App,
    /,
    ref: str,
    text: str | None,
    text_file: Path | None,
    language: str,
    speaker_wav: Path | None,
    output: str,
    device: str,
    seed: int | None,
    as_json: bool,
) -> None:
    """Speak a text with the voice or weight set REF, into a WAV file or a pipe.

    xttsreg synth my-voice:v1 --language en --text-file speech.txt -o - | aplay
    """
    from xttsreg.training.speak import speak

    stream = output == _STANDARD
    if stream and as_json:
        raise InvalidInputError("--json and -o - both want standard output: give -o FILE")
    if stream and sys.stdout.isatty():
        raise InvalidInputError("-o - would fill this terminal with samples", hint="add | aplay")
    done = speak(
        app.store(), Reference.parse(ref), _read(text, text_file),
        language=language, speaker_wav=speaker_wav, device=device, seed=seed,
        output=sys.stdout.buffer if stream else Path(output),
    )  # fmt: skip
    if as_json:
        print_json(done.as_dict())
        return
    say(f"{done.seconds:.1f} s of speech")
    if not stream:
        click.echo(output)


def _read(text: str | None, text_file: Path | None) -> str:
    if (text is None) == (text_file is None):
        raise InvalidInputError("give --text TEXT, --text - for standard input, or --text-file F")
    try:
        if text_file is not None:
            return text_file.read_text(encoding="utf-8-sig")
        if text == _STANDARD:
            return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{text_file or 'standard input'}: not UTF-8 ({error})") from None
    except OSError as error:
        raise InvalidInputError(f"{text_file}: {error.strerror}") from None
    return text or ""
