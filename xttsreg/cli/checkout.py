"""``xttsreg checkout``."""

from __future__ import annotations

from pathlib import Path

import click

from xttsreg.cli.context import App, common_options, pass_app
from xttsreg.cli.output import say
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidInputError


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
    from xttsreg.content.artifacts import kind_of
    from xttsreg.content.manifest import MANIFEST_TYPE
    from xttsreg.ops.views import checkout
    from xttsreg.stores.base import read_manifest, resolve

    store = app.store()
    entry = resolve(store, Reference.parse(ref))
    is_run = entry.media_type == MANIFEST_TYPE and kind_of(read_manifest(store, entry)) == "run"
    if is_run and hardlink:
        raise InvalidInputError(
            f"{ref}: is a training run, and links would be written to when it goes on",
            hint="leave out --hardlink: that would write into the store",
        )
    mode = checkout(store, entry, directory, hardlink=hardlink, progress=app.progress())
    say(f"way taken: {mode}")
    if is_run:
        say(f"to go on with it: xttsreg train --resume {directory}")
    click.echo(str(directory))
