"""``xttsreg checkout``."""

from __future__ import annotations

from pathlib import Path

import click

from xttsreg.cli.context import App, common_options, pass_app
from xttsreg.cli.output import say
from xttsreg.content.reference import Reference


@click.command("checkout")
@click.argument("ref")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--hardlink", is_flag=True,
              help="Link instead of copying. Writing to a link writes into the store.")  # fmt: skip
@common_options
@pass_app
def checkout_command(app: App, ref: str, directory: Path, hardlink: bool) -> None:
    """Write REF as plain files with their real names into DIRECTORY.

    Files are cloned where the filesystem can do that, else copied; either way they are yours.
    """
    from xttsreg.ops.views import checkout
    from xttsreg.stores.base import resolve

    store = app.store()
    entry = resolve(store, Reference.parse(ref))
    mode = checkout(store, entry, directory, hardlink=hardlink, progress=app.progress())
    say(f"way taken: {mode}")
    click.echo(str(directory))
