"""``xttsreg catalog``."""

from __future__ import annotations

import click

from xttsreg.cli.context import App, common_options, json_option, pass_app
from xttsreg.cli.output import human_size, print_json, print_table
from xttsreg.content.reference import Reference


@click.group("catalog")
def catalog_command() -> None:
    """Show the pinned weight sets."""


@catalog_command.command("ls")
@json_option
@common_options
@pass_app
def ls_command(app: App, as_json: bool) -> None:
    """List the sets: name, revision, files, size, licence."""
    rows = [
        {
            "ref": tagged,
            "revision": item.revision,
            "files": len(item.files),
            "size_bytes": item.size_bytes,
            "size": human_size(item.size_bytes),
            "license": item.license.id,
            "title": item.title,
        }
        for tagged, item in app.catalog().sets().items()
    ]
    if as_json:
        print_json(rows)
        return
    headings = {"ref": "REF", "revision": "REVISION", "files": "FILES", "size": "SIZE",
                "license": "LICENCE"}  # fmt: skip
    print_table(rows, headings)


@catalog_command.command("show")
@click.argument("name")
@json_option
@common_options
@pass_app
def show_command(app: App, name: str, as_json: bool) -> None:
    """Show one set: every file with size, digest, role and source."""
    item = app.catalog().get(Reference.parse(name))
    manifest = item.model()[1].describe()
    if as_json:
        print_json({**item.model_dump(mode="json"), "manifest_digest": manifest.digest})
        return
    click.echo(f"{item.reference.tagged}  {item.title}")
    click.echo(f"revision  {item.revision}")
    click.echo(f"manifest  {manifest.digest}")
    required = " (must be accepted)" if item.license.acceptance_required else ""
    click.echo(f"licence   {item.license.name}{required}")
    for source in item.sources:
        click.echo(f"source    {source}")
    click.echo("")
    rows = [
        {"path": f.path, "size": f.size_bytes, "sha256": f.sha256, "roles": ",".join(f.roles)}
        for f in item.files
    ]
    headings = {"path": "FILE", "size": "BYTES", "sha256": "SHA256", "roles": "FOR"}
    print_table(rows, headings)
