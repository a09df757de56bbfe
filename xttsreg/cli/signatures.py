"""Options around signatures: what to sign with, and whose signatures count."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from xttsreg.ops.signing import SigningKey

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path)

sign_option = click.option(
    "--sign", type=_FILE, metavar="KEY",
    help="Sign with this SSH key: private, on a token, or a .pub whose key an agent has.",
)  # fmt: skip


def trust_options(command: F) -> F:
    """Give a command ``--trust``, ``--revoked`` and ``--allow-unsigned``; see `ops.trust`."""
    options = [
        click.option("--trust", type=_FILE, metavar="FILE",
                     help="Whose signatures count (allowed_signers of OpenSSH).  "
                     "[env: XTTSREG_TRUST]"),
        click.option("--revoked", type=_FILE, metavar="FILE",
                     help="Keys that count no more (KRL of OpenSSH).  [env: XTTSREG_REVOKED]"),
        click.option("--allow-unsigned", is_flag=True,
                     help="Take what is not signed although there is a trust file."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def signing_key(path: Path | None) -> SigningKey | None:
    """The key of ``--sign``; it was looked at, so that a wrong one is told before the work.

    Raises:
        InvalidInputError, MissingDependency: it is none, or there is no ssh-keygen.
    """
    if path is None:
        return None
    from xttsreg.ops.signing import SigningKey

    key = SigningKey(path, interactive=sys.stdin.isatty() and sys.stderr.isatty())
    key.fingerprint()
    return key
