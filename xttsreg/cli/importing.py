"""``xttsreg import``."""

from __future__ import annotations

from pathlib import Path

import click

from xttsreg.cli.context import App, common_options, json_option, pass_app
from xttsreg.cli.output import human_size, print_json, say


@click.command("import")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("-f", "--force", is_flag=True, help="Move names that mean something else here.")
@json_option
@common_options
@pass_app
def import_command(app: App, directory: Path, force: bool, as_json: bool) -> None:
    """Check a bundle and take it into the store: all of it, or nothing."""
    from xttsreg.ops.importing import import_bundle

    done = import_bundle(directory, app.store(create=True), force=force, progress=app.progress())
    refs = [f"{ref.ref}@{ref.digest}" for ref in done.bundle.refs]
    if as_json:
        print_json({"bundle_id": done.bundle.bundle_id, "refs": refs,
                    "imported_bytes": done.copied.size_bytes,
                    "skipped_bytes": done.copied.skipped_bytes})  # fmt: skip
        return
    say(f"{human_size(done.copied.size_bytes)} imported, "
        f"{human_size(done.copied.skipped_bytes)} there already")  # fmt: skip
    for ref in refs:
        click.echo(ref)
