"""``xttsreg import``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

import click

from xttsreg.cli.context import App, common_options, globals_option, json_option, pass_app
from xttsreg.cli.output import human_size, print_json, printable, say
from xttsreg.cli.signatures import trust_options


@click.command("import")
@click.argument("directories", nargs=-1, required=True, metavar="DIR... | FILE.tar | -",
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Move names that mean something else here.")
@trust_options
@click.option(
    "--allow-older",
    is_flag=True,
    help="Take a bundle that is older than one that its signer sent before.",
)
@globals_option
@json_option
@common_options
@pass_app
def import_command(
    app: App, directories: tuple[Path, ...], force: bool, trust: Path | None, revoked: Path | None,
    allow_unsigned: bool, allow_older: bool, allow_globals: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Check a bundle and take it into the store: all of it, or nothing.

    Of a bundle on several sticks, give as many as are there, in any order; the others may come
    later. Its names appear with the last one.
    """
    from xttsreg.ops.archive import import_archive
    from xttsreg.ops.gate import Policy
    from xttsreg.ops.importing import import_volumes
    from xttsreg.ops.trust import find_trust

    store, progress = app.store(create=True), app.progress()
    policy = Policy(
        trust=find_trust(trust, revoked, allow_unsigned=allow_unsigned),
        allow_older=allow_older,
        allow_globals=allow_globals,
        force=force,
    )
    stream = _archive(directories)
    if stream:
        with stream:
            what = str(directories[0])
            done = import_archive(stream, store, what=what, policy=policy, progress=progress)
    else:
        done = import_volumes(directories, store, policy=policy, progress=progress)
    refs = [] if done.missing else [f"{ref.ref}@{ref.digest}" for ref in done.bundle.refs]
    if as_json:
        print_json({"bundle_id": done.bundle.bundle_id, "refs": refs,
                    "volumes": done.bundle.volumes, "missing": done.missing,
                    "origin": done.origin.to_json(),
                    "imported_bytes": done.copied.size_bytes,
                    "skipped_bytes": done.copied.skipped_bytes})  # fmt: skip
        return
    say(printable(str(done.origin)))
    say(f"{human_size(done.copied.size_bytes)} imported, "
        f"{human_size(done.copied.skipped_bytes)} there already")  # fmt: skip
    if done.missing:
        numbers = ", ".join(map(str, done.missing))
        they = "is missing; import it" if len(done.missing) == 1 else "are missing; import them"
        say(f"not complete: volume {numbers} of {done.bundle.volumes} {they} as well")
        return
    for ref in refs:
        click.echo(ref)


def _archive(places: tuple[Path, ...]) -> BinaryIO | None:
    """The stream of an archive; None for directories."""
    if len(places) != 1:
        return None
    if str(places[0]) == "-":
        return sys.stdin.buffer
    return places[0].open("rb") if places[0].is_file() else None
