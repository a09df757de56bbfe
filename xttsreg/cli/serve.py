"""``xttsreg serve``."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path

import click

from xttsreg.cli.context import App, common_options, pass_app
from xttsreg.cli.output import say
from xttsreg.errors import InvalidInputError, MissingDependency

_file = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Where to listen; 0.0.0.0 or :: for every network.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True,
              help="0 takes a free one.")  # fmt: skip
@click.option("--token-file", type=_file, metavar="FILE",
              help="Who may read sends this token.  [env: XTTSREG_SERVE_TOKEN]")  # fmt: skip
@click.option("--tls-cert", type=_file, metavar="FILE", help="Certificate in PEM: serve by TLS.")
@click.option("--tls-key", type=_file, metavar="FILE", help="Its key, if in another file.")
@click.option("--warm/--no-warm", default=True,
              help="Hash in the background what has no record yet.")  # fmt: skip
@common_options
@pass_app
def serve_command(
    app: App,
    host: str,
    port: int,
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    warm: bool,
) -> None:
    """Serve the store to other machines, read-only.

    Clients of the Hugging Face hub work with HF_ENDPOINT set to the address; so do skopeo, oras and
    `xttsreg pull`; a browser shows what is there. Ends with Ctrl-C.
    """
    try:
        import aiohttp  # noqa: F401 - only whether it is there
    except ImportError:
        raise MissingDependency("serve needs aiohttp", extra="serve") from None
    from xttsreg.serve.app import App as Server
    from xttsreg.serve.app import Options
    from xttsreg.serve.running import Listen, run

    if tls_key and not tls_cert:
        raise InvalidInputError("--tls-key without --tls-cert")
    token = _token(token_file)
    if not (token or _is_loopback(host)):
        say(f"note: whoever reaches {host} may read the store; --token-file asks for a token")
    options = Options(token=token, warm=warm, log=None if app.quiet else _log)
    server = Server(app.store(), app.catalog(), options)
    listen = Listen(host=host, port=port, certificate=tls_cert, key=tls_key)
    run(server, listen, ready=_tell)


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _tell(url: str) -> None:
    say(f"for clients of the Hugging Face hub: export HF_ENDPOINT={url}")
    click.echo(url)
    sys.stdout.flush()


def _token(file: Path | None) -> str | None:
    text = file.read_text("utf-8") if file else os.environ.get("XTTSREG_SERVE_TOKEN", "")
    token = text.strip()
    if file and not token:
        raise InvalidInputError(f"{file}: holds no token", hint="write one line into it")
    if not token.isascii() or any(c.isspace() for c in token):
        raise InvalidInputError("a token is one word of ASCII characters")
    return token or None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
