"""``xttsreg bundle``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xttsreg.cli.context import App, common_options, json_option, license_option, pass_app
from xttsreg.cli.output import human_size, print_json, printable, say
from xttsreg.cli.signatures import sign_option, signing_key, trust_options
from xttsreg.cli.sizes import SIZE
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidInputError

if TYPE_CHECKING:
    from xttsreg.content.bundle import Bundle
    from xttsreg.content.descriptor import Descriptor
    from xttsreg.ops.bundle import Bundled
    from xttsreg.ops.recipe import BundleRecipe, DatasetRecipe, EnvironmentRecipe
    from xttsreg.stores.layout import LayoutStore


@click.command("bundle")
@click.argument("what", nargs=-1, required=True, metavar="RECIPE.toml | REF...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write it, e.g. a folder on the stick.",
)
@click.option(
    "--volume-size",
    type=SIZE,
    metavar="SIZE",
    help="Spread it over sticks of this size, e.g. 8GB, in DIR/volume-1, ...",
)
@click.option(
    "--volume",
    type=click.IntRange(min=1),
    metavar="K",
    help="Write only the K-th volume, into DIR itself.",
)
@click.option("--max-file-size", type=SIZE, metavar="SIZE",
              help="Split longer files.  [default: what the medium takes]")  # fmt: skip
@click.option(
    "--archive",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE|-",
    help="Write one tar file instead, or a pipe.",
)
@click.option("--readback", is_flag=True,
              help="Read everything back from the medium itself, and check it.")  # fmt: skip
@sign_option
@click.option(
    "--since",
    type=click.Path(path_type=Path),
    metavar="INVENTORY",
    help="Leave out what this `xttsreg inventory` of the other side lists.",
)
@click.option(
    "--thin", is_flag=True, help="Leave out the bases of voices and runs: the other side has them."
)
@trust_options
@license_option
@json_option
@common_options
@pass_app
def bundle_command(
    app: App, what: tuple[str, ...], output: Path | None, volume_size: int | None,
    volume: int | None, max_file_size: int | None, archive: Path | None, readback: bool,
    sign: Path | None, since: Path | None, thin: bool, trust: Path | None, revoked: Path | None,
    allow_unsigned: bool, accept_license: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write a bundle of these sets and voices, fetching first what the store lacks.

    A bundle that is there already is brought up to date: what is right is not written again.
    The trust options are for the inventory of --since.
    """
    from xttsreg.ops.bundle import Media, bundle, bundle_archive
    from xttsreg.ops.inventory import read_inventory
    from xttsreg.ops.trust import find_trust

    references, recipe, default = _read(what)
    _require_one_place(archive, output, (volume_size, volume, max_file_size, readback), as_json)
    directory = archive or output or default
    if directory is None:
        raise InvalidInputError("where to? no output was given", hint="add -o DIR")
    key = signing_key(sign)
    inventory = None
    if since:
        inventory, origin = read_inventory(
            since, find_trust(trust, revoked, allow_unsigned=allow_unsigned)
        )
        say(f"inventory of {printable(inventory.created)}: {printable(str(origin))}")
    store = app.store(create=True)
    tags = {ref.tagged: _provide(app, store, ref, accept_license) for ref in references}
    if recipe:
        place = Path(what[0]).parent
        tags |= _datasets(app, store, recipe.datasets, place)
        tags |= _environments(app, store, recipe.environments, place, directory)
    signed_by = key.fingerprint() if key else None
    if archive:
        to = sys.stdout.buffer if str(archive) == "-" else archive
        listing, size_bytes = bundle_archive(
            store, tags, to, key=key, since=inventory, thin=thin, progress=app.progress()
        )
        _tell_archive(archive, listing, size_bytes, signed_by, as_json)
        return
    media = Media(volume_bytes=volume_size, volume=volume, file_bytes=max_file_size)
    done = bundle(store, tags, directory, media=media, key=key, since=inventory, thin=thin,
                  readback=readback, progress=app.progress())  # fmt: skip
    if as_json:
        print_json({"directory": str(done.directory), "bundle": done.bundle.to_json(),
                    "volumes": {str(v.number): str(v.directory) for v in done.volumes},
                    "written_bytes": done.size_bytes, "skipped_bytes": done.skipped_bytes,
                    "signed_by": signed_by})  # fmt: skip
    else:
        _tell(done, signed_by)


def _require_one_place(
    archive: Path | None, output: Path | None, media: tuple[object, ...], as_json: bool
) -> None:
    """Make sure that options for an archive and for sticks are not mixed."""
    if archive is None:
        return
    if output is not None or any(media):
        raise InvalidInputError(
            "--archive writes one file, and knows no -o, volumes, parts or --readback",
            hint="leave out one or the other",
        )
    if str(archive) == "-" and (as_json or sys.stdout.isatty()):
        raise InvalidInputError(
            "the archive would go to the standard output, where the answer goes, or a person looks",
            hint="send it into a pipe or a file, without --json",
        )


def _tell_archive(
    archive: Path, listing: Bundle, size_bytes: int, signed_by: str | None, as_json: bool
) -> None:
    if as_json:
        print_json({"archive": str(archive), "bundle": listing.to_json(),
                    "written_bytes": size_bytes, "signed_by": signed_by})  # fmt: skip
        return
    for ref in listing.refs:
        say(f"{ref.ref}@{ref.digest}")
    say(f"{human_size(size_bytes)} written")
    if signed_by:
        say(f"signed with the key {signed_by}")
    if str(archive) != "-":
        click.echo(str(archive))


def _tell(done: Bundled, signed_by: str | None) -> None:
    for ref in done.bundle.refs:
        say(f"{ref.ref}@{ref.digest}")
    say(f"{human_size(done.size_bytes)} written, {human_size(done.skipped_bytes)} there already")
    if done.bundle.requires:
        left_bytes = sum(blob.size_bytes for blob in done.bundle.requires)
        say(f"{human_size(left_bytes)} left out: the other side has them")
    if done.bundle.volumes > 1:
        numbers = ", ".join(str(volume.number) for volume in done.volumes)
        say(f"volume {numbers} of {done.bundle.volumes}")
    if signed_by:
        say(f"signed with the key {signed_by}")
    for volume in done.volumes:
        click.echo(str(volume.directory))


def _read(
    what: tuple[str, ...],
) -> tuple[list[Reference], BundleRecipe | None, Path | None]:
    """References; a recipe, if one is given, and its default output."""
    from xttsreg.ops.recipe import load_recipe

    if len(what) == 1 and what[0].endswith(".toml"):
        recipe = load_recipe(Path(what[0]))
        output = Path(recipe.output) if recipe.output else None
        return recipe.references(), recipe, output
    return [Reference.parse(text) for text in what], None, None


def _datasets(
    app: App, store: LayoutStore, recipes: tuple[DatasetRecipe, ...], place: Path
) -> dict[str, Descriptor]:
    """A recipe's datasets: from folders, by their place beside the recipe, or from the store."""
    from xttsreg.ops.datasets import provide_dataset

    return {
        item.reference.tagged: provide_dataset(
            store, item.reference, place / item.directory if item.directory else None,
            app.catalog(), progress=app.progress(),
        )
        for item in recipes
    }  # fmt: skip


def _environments(
    app: App, store: LayoutStore, recipes: tuple[EnvironmentRecipe, ...], place: Path, output: Path
) -> dict[str, Descriptor]:
    """A recipe's environments: resolved, or by their locks beside the recipe."""
    if not recipes:
        return {}
    from xttsreg.ops.environment.make import provide_environment

    made = [
        provide_environment(
            store, item, recipe_directory=place, output=output, progress=app.progress()
        )
        for item in recipes
    ]
    return {each.tagged: each.manifest for each in made}


def _provide(app: App, store: LayoutStore, ref: Reference, accept: bool) -> Descriptor:
    """The manifest of a reference: from the store, else fetched; its terms accepted."""
    from xttsreg.ops import licensing
    from xttsreg.ops.fetch import fetch
    from xttsreg.stores.base import read_manifest, resolve

    item = app.catalog().find(ref)
    if item and not ref.digest and ref.tagged not in store.tags():
        return fetch(
            store, item, ask=app.ask(accept), token=app.token(), progress=app.progress()
        ).manifest
    entry = resolve(store, ref)
    manifest = read_manifest(store, entry)
    terms = licensing.terms_for(ref.tagged, manifest, app.catalog())
    licensing.require(store, entry, manifest, terms, app.ask(accept))
    return entry
