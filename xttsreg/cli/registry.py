"""``xttsreg push``, ``pull``, ``copy``, ``login`` and ``logout``: OCI registries."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from xttsreg.cli.context import (
    App,
    common_options,
    globals_option,
    json_option,
    license_option,
    pass_app,
)
from xttsreg.cli.output import human_size, print_json, say
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidInputError

if TYPE_CHECKING:
    from xttsreg.ops.registry import Transferred
    from xttsreg.remote.connection import Options

F = TypeVar("F", bound=Callable[..., Any])


def registry_options(command: F) -> F:
    """Give a command ``--plain-http`` and ``--ca``."""
    plain = click.option(
        "--plain-http", is_flag=True, help="Without TLS. A registry on this machine needs no flag."
    )
    ca = click.option(
        "--ca", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
        help="PEM file of the authority that signed the registry's certificate.",
    )  # fmt: skip
    return plain(ca(command))


def _options(plain_http: bool, ca: Path | None) -> Options:
    from xttsreg.remote.connection import Options

    if plain_http and ca:
        raise InvalidInputError("--plain-http and --ca contradict each other")
    return Options(plain_http=True if plain_http else None, ca=ca)


@click.command("push")
@click.argument("ref")
@click.argument("address", metavar="HOST/REPOSITORY[:TAG]")
@registry_options
@json_option
@common_options
@pass_app
def push_command(
    app: App, ref: str, address: str, plain_http: bool, ca: Path | None, as_json: bool
) -> None:
    """Copy a set or voice into an OCI registry: Harbor, zot, distribution.

    What is there is not sent again. The tag is REF's unless one is given. Credentials are those of
    docker and podman; `xttsreg login` writes them.
    """
    from xttsreg.ops.registry import push
    from xttsreg.remote.address import Address

    reference = Reference.parse(ref)
    target = Address.parse(address, tag=reference.tag)
    options = _options(plain_http, ca)
    done = push(app.store(), reference, target, options=options, progress=app.progress())
    _tell(done, "sent", str(done.address), as_json)


@click.command("pull")
@click.argument("address", metavar="HOST/REPOSITORY[:TAG][@DIGEST]")
@click.argument("name", required=False, metavar="[NAME[:TAG]]")
@click.option("-f", "--force", is_flag=True, help="Move a name that means something else here.")
@globals_option
@license_option
@registry_options
@json_option
@common_options
@pass_app
def pull_command(
    app: App,
    address: str,
    name: str | None,
    force: bool,
    allow_globals: tuple[str, ...],
    accept_license: bool,
    plain_http: bool,
    ca: Path | None,
    as_json: bool,
) -> None:
    """Copy a set or voice from an OCI registry into the store.

    Goes on where an earlier pull stopped. NAME is what it is called here; by default as in the
    registry, without the host.
    """
    from xttsreg.ops.registry import pull
    from xttsreg.remote.address import Address

    done = pull(
        app.store(create=True),
        Address.parse(address),
        name=Reference.parse(name) if name else None,
        force=force,
        allow_globals=allow_globals,
        catalog=app.catalog(),
        ask=app.ask(accept_license),
        options=_options(plain_http, ca),
        progress=app.progress(),
    )
    _tell(done, "brought", f"{done.tagged}@{done.manifest.digest}", as_json)


@click.command("copy")
@click.argument("source", metavar="HOST/REPOSITORY[:TAG][@DIGEST]")
@click.argument("target", metavar="HOST/REPOSITORY[:TAG]")
@registry_options
@json_option
@common_options
@pass_app
def copy_command(
    app: App, source: str, target: str, plain_http: bool, ca: Path | None, as_json: bool
) -> None:
    """Copy a set or voice from one OCI registry to another, past the store.

    What is there is not sent again. The tag is that of the source unless one is given.
    """
    from xttsreg.ops.registry import relay
    from xttsreg.remote.address import Address

    start = Address.parse(source)
    goal = Address.parse(target, tag=start.reference.tag)
    done = relay(start, goal, options=_options(plain_http, ca), progress=app.progress())
    _tell(done, "copied", str(done.address), as_json)


def _tell(done: Transferred, word: str, result: str, as_json: bool) -> None:
    if as_json:
        print_json({"ref": done.tagged, "digest": done.manifest.digest,
                    "address": str(done.address), "copied_bytes": done.copied.size_bytes,
                    "skipped_bytes": done.copied.skipped_bytes})  # fmt: skip
        return
    say(f"{human_size(done.copied.size_bytes)} {word}, "
        f"{human_size(done.copied.skipped_bytes)} there already")  # fmt: skip
    click.echo(result)


@click.command("login")
@click.argument("host")
@click.option("-u", "--username", help="Asked for if it is not given.")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@registry_options
@common_options
@pass_app
def login_command(
    app: App,
    host: str,
    username: str | None,
    password_stdin: bool,
    plain_http: bool,
    ca: Path | None,
) -> None:
    """Keep a name and password for a registry, where docker and podman keep theirs.

    They are tried first. There is no option for the password: other users could read it.
    """
    from xttsreg.ops.login import login

    if not username:
        username = click.prompt("Username", err=True) if sys.stdin.isatty() else None
    if not username:
        raise InvalidInputError("no username was given", hint="add --username")
    if password_stdin:
        secret = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        secret = click.prompt("Password or token", hide_input=True, err=True)
    else:
        raise InvalidInputError("no password: this is not a terminal", hint="add --password-stdin")
    kept = login(host, username, secret, options=_options(plain_http, ca))
    say(f"logged in to {host} as {username}; kept in {kept}")


@click.command("logout")
@click.argument("host")
@common_options
@pass_app
def logout_command(app: App, host: str) -> None:
    """Forget the name and password for a registry."""
    from xttsreg.remote.credentials import forget_credential

    if not forget_credential(host):
        raise InvalidInputError(f"{host}: not logged in", hint="nothing was to be forgotten")
    say(f"logged out of {host}")
