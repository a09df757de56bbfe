"""``xttsreg tag`` and ``xttsreg rm``."""

from __future__ import annotations

import click

from xttsreg.cli.context import App, common_options, pass_app
from xttsreg.content.reference import Reference
from xttsreg.errors import AlreadyExists, InvalidReference, TagNotFound


@click.command("tag")
@click.argument("ref")
@click.argument("new")
@click.option("-f", "--force", is_flag=True, help="Move NEW if it exists.")
@common_options
@pass_app
def tag_command(app: App, ref: str, new: str, force: bool) -> None:
    """Give what REF names another name, NEW."""
    from xttsreg.stores.base import resolve

    store, target = app.store(), Reference.parse(new)
    if target.digest:
        raise InvalidReference(f"{new}: a new name has no digest", hint=f"give {target.tagged}")
    entry = resolve(store, Reference.parse(ref))
    existing = store.tags().get(target.tagged)
    if existing and existing.digest != entry.digest and not force:
        raise AlreadyExists(f"{target.tagged}: exists already", hint="--force moves it")
    store.tag(target.tagged, entry)
    click.echo(f"{target.tagged}@{entry.digest}")


@click.command("rm")
@click.argument("ref")
@common_options
@pass_app
def rm_command(app: App, ref: str) -> None:
    """Remove a name. The bytes stay until `xttsreg gc`."""
    from xttsreg.stores.base import resolve

    store, reference = app.store(), Reference.parse(ref)
    entry = resolve(store, Reference(reference.name, reference.tag))
    if reference.digest and reference.digest != entry.digest:
        raise TagNotFound(f"{reference.tagged} is {entry.digest} by now", hint="nothing removed")
    store.untag(reference.tagged)
    click.echo(f"{reference.tagged}@{entry.digest}")
