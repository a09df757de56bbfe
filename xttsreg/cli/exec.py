"""``xttsreg exec``."""

from __future__ import annotations

import click

from xttsreg.cli.context import App, common_options, license_option, pass_app
from xttsreg.content.reference import Reference


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("--model", metavar="REF",
              help="Set that answers.  [default: the only one that can be trained]")  # fmt: skip
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED,
                metavar="-- COMMAND...")  # fmt: skip
@license_option
@common_options
@pass_app
def exec_command(
    app: App, model: str | None, command: tuple[str, ...], accept_license: bool
) -> int:
    """Run any recipe, unmodified, offline: it gets XTTS_v2 from the store.

    COMMAND is, for example, python train_gpt_xtts.py. Every Python process below it has no network,
    finds the weights where it would download them, and proves what it restored before it trains.
    The exit code is the command's.
    """
    from xttsreg.training.execute import execute

    ended = execute(
        app.store(), app.catalog(), command,
        model=Reference.parse(model) if model else None,
        ask=app.ask(accept_license), progress=app.progress(), debug=app.debug,
    )  # fmt: skip
    return ended.exit_code
