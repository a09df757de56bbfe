"""``xttsreg verify``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from xttsreg.cli.context import App, common_options, json_option, pass_app
from xttsreg.cli.output import human_size, print_json, say
from xttsreg.content.reference import Reference
from xttsreg.errors import IntegrityError, InvalidInputError

if TYPE_CHECKING:
    from xttsreg.ops.copies import Copy
    from xttsreg.stores.layout import LayoutStore


@click.command("verify")
@click.argument("ref", required=False)
@click.option("--no-cache", is_flag=True, help="Hash every byte, whatever was checked before.")
@click.option("--repair", "mend", is_flag=True, help="Bring what is wrong again, from --from.")
@click.option("--from", "places", multiple=True, metavar="PLACE",
              help="A store, a bundle, any directory that has the files, a URL of one, a "
              "repository of a registry, or a name of the catalogue.")  # fmt: skip
@json_option
@common_options
@pass_app
def verify_command(
    app: App, ref: str | None, no_cache: bool, mend: bool, places: tuple[str, ...], as_json: bool
) -> None:
    """Check REF, or the whole store. Exit code 4 if anything is wrong."""
    from xttsreg.ops.verify import verify
    from xttsreg.stores.base import resolve

    if places and not mend:
        raise InvalidInputError(
            "--from is for --repair", hint="xttsreg verify --repair --from PLACE"
        )
    store = app.store()
    copies = _copies(app, places)
    _check_index(app, store, copies, mend, as_json)
    entries = [resolve(store, Reference.parse(ref))] if ref else list(store.entries())
    found = verify(store, entries, use_cache=not no_cache, progress=app.progress())
    if copies:
        from xttsreg.ops.repair import repair

        found = repair(store, entries, found, copies, progress=app.progress())
    _show(found.blobs, found.size_bytes, as_json, [
        {"digest": p.digest, "what": p.what, "refs": p.refs, "reason": p.reason}
        for p in found.problems])  # fmt: skip
    if found.problems:
        first = found.problems[0]
        raise IntegrityError(
            f"{len(found.problems)} of {found.blobs} blobs are wrong, e.g. {first.what}",
            hint="fetch or import the sets named above again, or mend from another copy: "
            "xttsreg verify --repair --from PLACE",
        )
    say(f"{found.blobs} blobs, {human_size(found.size_bytes)}: all right")


def _copies(app: App, places: Sequence[str]) -> list[Copy]:
    if not places:
        return []
    from xttsreg.ops.copies import open_copy

    return [open_copy(place, app.catalog(), app.token()) for place in places]


def _check_index(
    app: App, store: LayoutStore, copies: Sequence[Copy], mend: bool, as_json: bool
) -> None:
    """Without the index nobody knows what else to look at."""
    from xttsreg.ops.repair import index_problem, mend_index

    problem = index_problem(store)
    if problem and not mend:
        _show(0, 0, as_json, [{"digest": None, "what": "index.json", "refs": [],
                               "reason": problem}])  # fmt: skip
        raise IntegrityError(
            "index.json is damaged: the names are not known",
            hint="xttsreg verify --repair; add --from PLACE if there is another copy",
        )
    if problem:
        for name in mend_index(store, copies, progress=app.progress()):
            say(f"{name}: has lost its name; `xttsreg inspect {name}`, then `xttsreg tag`")


def _show(
    blobs: int, size_bytes: int, as_json: bool, problems: Sequence[Mapping[str, Any]]
) -> None:
    if as_json:
        print_json({"blobs": blobs, "size_bytes": size_bytes, "problems": problems})
        return
    for p in problems:
        needed = f"  {p['digest']}  needed by {', '.join(p['refs'])}" if p["digest"] else ""
        click.echo(f"{p['reason']}  {p['what']}{needed}")
