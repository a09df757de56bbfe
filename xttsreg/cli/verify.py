"""``xttsreg verify``."""

from __future__ import annotations

import click

from xttsreg.cli.context import App, common_options, json_option, pass_app
from xttsreg.cli.output import human_size, print_json, say
from xttsreg.content.reference import Reference
from xttsreg.errors import IntegrityError


@click.command("verify")
@click.argument("ref", required=False)
@click.option("--no-cache", is_flag=True, help="Hash every byte, whatever was checked before.")
@json_option
@common_options
@pass_app
def verify_command(app: App, ref: str | None, no_cache: bool, as_json: bool) -> None:
    """Check REF, or the whole store. Exit code 4 if anything is wrong."""
    from xttsreg.ops.verify import verify
    from xttsreg.stores.base import resolve

    store = app.store()
    entries = [resolve(store, Reference.parse(ref))] if ref else list(store.entries())
    found = verify(store, entries, use_cache=not no_cache, progress=app.progress())
    if as_json:
        print_json({"blobs": found.blobs, "size_bytes": found.size_bytes, "problems": [
            {"digest": p.digest, "what": p.what, "refs": p.refs, "reason": p.reason}
            for p in found.problems]})  # fmt: skip
    else:
        for p in found.problems:
            click.echo(f"{p.reason}  {p.what}  {p.digest}  needed by {', '.join(p.refs)}")
    if found.problems:
        first = found.problems[0]
        raise IntegrityError(
            f"{len(found.problems)} of {found.blobs} blobs are wrong, e.g. {first.what}",
            hint="fetch or import the sets named above again: what is wrong is replaced",
        )
    say(f"{found.blobs} blobs, {human_size(found.size_bytes)}: all right")
