"""``xttsreg import``."""

from __future__ import annotations

from pathlib import Path

import click

from xttsreg.cli.context import App, common_options, json_option, pass_app
from xttsreg.cli.output import human_size, print_json, printable, say
from xttsreg.cli.signatures import trust_options


@click.command("import")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("-f", "--force", is_flag=True, help="Move names that mean something else here.")
@trust_options
@click.option(
    "--allow-older",
    is_flag=True,
    help="Take a bundle that is older than one that its signer sent before.",
)
@json_option
@common_options
@pass_app
def import_command(
    app: App, directory: Path, force: bool, trust: Path | None, revoked: Path | None,
    allow_unsigned: bool, allow_older: bool, as_json: bool,
) -> None:  # fmt: skip
    """Check a bundle and take it into the store: all of it, or nothing."""
    from xttsreg.ops.importing import import_bundle
    from xttsreg.ops.trust import find_trust

    done = import_bundle(
        directory,
        app.store(create=True),
        force=force,
        trust=find_trust(trust, revoked, allow_unsigned=allow_unsigned),
        allow_older=allow_older,
        progress=app.progress(),
    )
    refs = [f"{ref.ref}@{ref.digest}" for ref in done.bundle.refs]
    if as_json:
        print_json({"bundle_id": done.bundle.bundle_id, "refs": refs,
                    "origin": done.origin.to_json(),
                    "imported_bytes": done.copied.size_bytes,
                    "skipped_bytes": done.copied.skipped_bytes})  # fmt: skip
        return
    say(printable(str(done.origin)))
    say(f"{human_size(done.copied.size_bytes)} imported, "
        f"{human_size(done.copied.skipped_bytes)} there already")  # fmt: skip
    for ref in refs:
        click.echo(ref)
