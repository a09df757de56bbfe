"""``xttsreg gc``."""

from __future__ import annotations

import sys

import click

from xttsreg.cli.context import App, common_options, json_option, pass_app
from xttsreg.cli.output import human_size, print_json, say
from xttsreg.errors import InvalidInputError


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@click.option(
    "--arrivals",
    is_flag=True,
    help="Also what has come of bundles of which other volumes are missing.",
)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")  # fmt: skip
@json_option
@common_options
@pass_app
def gc_command(app: App, dry_run: bool, arrivals: bool, yes: bool, as_json: bool) -> None:
    """Remove blobs that no name needs, and unfinished downloads."""
    from xttsreg.ops.gc import gc

    store = app.store()
    found = gc(store, dry_run=True, arrivals=arrivals)
    total = len(found.blobs) + len(found.files)
    if total and not dry_run:
        _confirm(f"Remove {total} files, {human_size(found.size_bytes)}?", yes)
        found = gc(store, dry_run=False, arrivals=arrivals)
    if as_json:
        print_json({"removed": not dry_run, "blobs": found.blobs, "size_bytes": found.size_bytes,
                    "files": [str(path) for path in found.files]})  # fmt: skip
        return
    for item in (*found.blobs, *found.files):
        click.echo(str(item))
    word = "would be" if dry_run else "was"
    say(f"{human_size(found.size_bytes)} {word} freed")


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInputError("gc wants a yes", hint="repeat with --yes, or with --dry-run")
    click.confirm(question, abort=True, err=True)
