"""``xttsreg doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xttsreg.cli.context import App, common_options, json_option, pass_app
from xttsreg.cli.output import print_json, printable, say
from xttsreg.content.reference import Reference

if TYPE_CHECKING:
    from xttsreg.training.preflight import Check


@click.command("doctor")
@click.option("--model", metavar="REF", help="Weight set to train from.")
@click.option("--dataset", metavar="DIR|REF",
              help="A directory, or a dataset of the store; ./x: a directory.")  # fmt: skip
@click.option("--formatter", default="ljspeech", show_default=True,
              help="How TTS reads the dataset's metadata.")  # fmt: skip
@click.option("--metadata", default="metadata.csv", show_default=True)
@click.option("--metadata-eval", default="", help="Default: clips split off from --metadata.")
@click.option("--language", default="en", show_default=True, help="Of the texts.")
@click.option("--batch-size", default=3, show_default=True, help="Clips in one step.")
@click.option("--eval-split", default=0.01, show_default=True,
              help="Fraction, or number from 1 on, of clips to evaluate on.")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True)  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR",
              help="The planned run's folder.  [default: below XTTSREG_HOME]")  # fmt: skip
@json_option
@common_options
@pass_app
def doctor_command(
    app: App,
    /,
    model: str | None,
    dataset: str | None,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Check this machine, the store, and a planned training run, before any of it costs time.

    Exit code 0 with warnings or without; else that of the first failure.
    """
    from xttsreg.training import preflight
    from xttsreg.training.options import TrainOptions

    plan = TrainOptions(dataset=Path(dataset), **options) if dataset else None
    checks = preflight.examine(
        app.place(), app.catalog(), output=output, options=plan, dataset=dataset,
        model=Reference.parse(model) if model else None,
    )  # fmt: skip
    code = preflight.exit_code(checks)
    if as_json:
        print_json({"exit_code": code, "checks": [check.as_dict() for check in checks]})
        return code
    _print(checks)
    counts = {level: sum(check.level == level for check in checks) for level in _LOOKS}
    warnings, failures = _count(counts["warn"], "warning"), _count(counts["fail"], "failure")
    say(f"{counts['ok']} fine, {warnings}, {failures}")
    return code


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


_LOOKS = {"ok": ("OK", "green"), "warn": ("WARN", "yellow"), "fail": ("FAIL", "red")}


def _print(checks: list[Check]) -> None:
    """One line a check, however long: for `grep`, and nothing is cut off."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        word, color = _LOOKS[check.level]
        label = click.style(word.ljust(4), fg=color, bold=check.level != "ok")
        action = f"  -> {printable(check.action)}" if check.action else ""
        click.echo(f"{label}  {check.name.ljust(width)}  {printable(check.message)}{action}")
