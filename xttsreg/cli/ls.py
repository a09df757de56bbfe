"""``xttsreg ls``."""

from __future__ import annotations

import click

from xttsreg.cli.context import App, common_options, json_option, pass_app
from xttsreg.cli.output import human_size, print_json, print_table
from xttsreg.content.digest import Digest


@click.command("ls")
@json_option
@common_options
@pass_app
def ls_command(app: App, as_json: bool) -> None:
    """List what is in the store."""
    from xttsreg.ops import listing

    rows = listing.current(app.place())
    if rows is None:
        rows = listing.renew(app.store())
    if as_json:
        print_json(rows)
        return
    table = [
        {
            **row,
            "base": (row["base"] or "").partition("@")[0],
            "size": human_size(row["size_bytes"]),
            "short": Digest(row["digest"]).short,
        }
        for row in rows
    ]
    headings = {"ref": "REF", "kind": "KIND", "short": "DIGEST", "files": "FILES", "size": "SIZE",
                "base": "BASE"}  # fmt: skip
    print_table(table, headings)
