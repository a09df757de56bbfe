"""``xttsreg inventory``."""

from __future__ import annotations

from pathlib import Path

import click

from xttsreg.cli.context import App, common_options, pass_app
from xttsreg.cli.output import human_size, printable, say
from xttsreg.cli.signatures import sign_option, signing_key
from xttsreg.errors import InvalidInputError


@click.command("inventory")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Where to write it; otherwise to stdout.")  # fmt: skip
@sign_option
@common_options
@pass_app
def inventory_command(app: App, output: Path | None, sign: Path | None) -> None:
    """Say what this store has, as JSON: `bundle --since FILE` then brings only the rest."""
    from xttsreg.ops.inventory import signature_path, take_inventory, write_inventory

    if sign and not output:
        raise InvalidInputError("--sign needs a file to sign", hint="add -o FILE")
    key = signing_key(sign)
    taken = take_inventory(app.store(), progress=app.progress())
    for problem in taken.problems:
        say(f"left out: {printable(problem)}")
    if output is None:
        click.echo(taken.inventory.to_bytes(), nl=False)
        return
    write_inventory(taken.inventory, output, key=key)
    blobs = taken.inventory.blobs
    say(f"{len(taken.inventory.refs)} names, {len(blobs)} blobs, {human_size(sum(blobs.values()))}")
    click.echo(str(output))
    if key:
        click.echo(str(signature_path(output)))
