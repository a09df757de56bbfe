"""``xttsreg inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xttsreg.cli.context import App, common_options, json_option, pass_app
from xttsreg.cli.output import print_json, print_table, printable
from xttsreg.content.reference import Reference


@click.command("inspect")
@click.argument("what", metavar="REF | FILE.pth")
@json_option
@common_options
@pass_app
def inspect_command(app: App, what: str, as_json: bool) -> None:
    """Show one weight set or voice of the store, or what a .pth file is and is good for."""
    path = Path(what)
    if what.endswith((".pth", ".pt")) or (path.suffix and path.is_file()):
        from xttsreg.ops.inspecting import inspect_file

        value = inspect_file(path, app.catalog())
    else:
        from xttsreg.ops.show import describe
        from xttsreg.stores.base import resolve

        store, reference = app.store(), Reference.parse(what)
        value = describe(store, reference.tagged, resolve(store, reference))
    if as_json:
        print_json(value)
        return
    _print(value)


def _print(value: dict[str, Any]) -> None:
    """Facts line by line, then the list of files, if there is one."""
    for key, fact in value.items():
        if isinstance(fact, dict):
            for name, inner in fact.items():
                _line(f"{key}.{name}", inner)
        elif not (isinstance(fact, list) and fact and isinstance(fact[0], dict)):
            _line(key, fact)
    if value.get("files") and isinstance(value["files"], list):
        rows = [{**file, "roles": ",".join(file["roles"])} for file in value["files"]]
        headings = {"path": "FILE", "size_bytes": "BYTES", "digest": "DIGEST", "roles": "FOR"}
        click.echo("")
        print_table(rows, headings)


def _line(key: str, fact: object) -> None:
    if fact is not None and fact != [] and fact != "":
        text = ", ".join(map(str, fact)) if isinstance(fact, list) else str(fact)
        click.echo(f"{printable(key)}: {printable(text)}")
