"""``xttsreg fetch``."""

from __future__ import annotations

from pathlib import Path

import click

from xttsreg.cli.context import App, common_options, json_option, license_option, pass_app
from xttsreg.cli.output import print_json, say
from xttsreg.content.reference import Reference


@click.command("fetch")
@click.argument("name")
@click.option("--from", "directories", multiple=True, metavar="DIR",
              type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Take files that are right from here instead of the network.")  # fmt: skip
@license_option
@json_option
@common_options
@pass_app
def fetch_command(
    app: App, name: str, directories: tuple[Path, ...], accept_license: bool, as_json: bool
) -> None:
    """Bring a pinned weight set from the network into the store.

    Resumes what was interrupted, and never fetches twice what is there. HF_TOKEN and HF_ENDPOINT
    are honoured, and proxies and certificates as `requests` has them.
    """
    from xttsreg.ops.fetch import fetch

    item = app.catalog().get(Reference.parse(name))
    done = fetch(
        app.store(create=True),
        item,
        ask=app.ask(accept_license),
        directories=directories,
        token=app.token(),
        progress=app.progress(),
    )
    if as_json:
        print_json(
            {
                "ref": done.tagged,
                "digest": done.manifest.digest,
                "fetched": done.fetched,
                "taken": done.taken,
                "present": done.present,
            }
        )
        return
    say(f"{len(done.fetched)} files fetched, {len(done.taken)} taken from disk, "
        f"{len(done.present)} there already")  # fmt: skip
    click.echo(f"{done.tagged}@{done.manifest.digest}")
