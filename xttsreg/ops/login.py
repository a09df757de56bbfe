"""Try credentials at a registry, and keep them if they are good."""

from __future__ import annotations

from dataclasses import replace

from xttsreg.errors import InvalidInputError
from xttsreg.remote.address import Address
from xttsreg.remote.connection import Connection, Options
from xttsreg.remote.credentials import Credential, store_credential


def login(host: str, username: str, secret: str, *, options: Options) -> str:
    """Keep a name and password for a registry; returns where, for people.

    Raises:
        InvalidInputError: the name or the password is empty, or cannot be kept.
        Unauthorized: the registry does not take them; nothing was kept.
        RemoteError: no registry answers there.
    """
    if not username or not secret or ":" in username:
        raise InvalidInputError(f"{host}: a name without colon and a password are needed")
    credential = Credential(username, secret)
    address = Address.parse(f"{host}/login")  # the registry as a whole; the repository is not used
    connection = Connection(
        address, replace(options, find=lambda _: credential), writable=False, scope=""
    )
    connection.ask("GET", f"{connection.base}/v2/", ok=(200,)).close()
    return store_credential(host, credential)
