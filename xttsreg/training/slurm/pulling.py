"""The model on a node's own disk, from a registry or from `xttsreg serve`."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidReference, StoreError
from xttsreg.remote.address import Address

_PLAIN = "http://"


@dataclass(frozen=True, slots=True)
class Pull:
    """What a job brings to its node before it trains.

    Attributes:
        address: Where it is in the registry, pinned.
        is_plain: The registry speaks without TLS.
    """

    address: Address
    is_plain: bool

    def model(self, name: Reference) -> Reference:
        """What it is called on the node, pinned."""
        return Reference(name.name, name.tag, self.address.reference.digest)

    def arguments(self, name: Reference, *, is_accepted: bool) -> tuple[str, ...]:
        """The `xttsreg pull` of the job, but for the store; what it had before may be older."""
        more = ("--plain-http",) if self.is_plain else ()
        yes = ("--accept-license",) if is_accepted else ()
        return ("pull", str(self.address), name.tagged, "--force", *more, *yes)


def look_up(text: str) -> Pull:
    """Find something in a registry, so that the job need not.

    Args:
        text: ``host/repository[:tag]``; ``http://`` before it for a registry without TLS.

    Raises:
        InvalidReference: it does not follow the grammar.
        TagNotFound: the registry does not have it.
        RemoteError: the registry refuses, or cannot be reached.
    """
    from xttsreg.remote.connection import Options
    from xttsreg.remote.registry import RegistryStore

    is_plain = text.startswith(_PLAIN)
    address = Address.parse(text.removeprefix(_PLAIN))
    registry = RegistryStore(address, Options(plain_http=True if is_plain else None))
    return Pull(address.at(registry.resolve(address.identifier).digest), is_plain)


def require_same(pull: Pull, model: Reference) -> None:
    """Make sure that a run goes on with the model that it began with.

    Raises:
        InvalidReference: the registry has another one.
    """
    if pull.address.reference.digest != model.digest:
        raise InvalidReference(
            f"{pull.address}: the run began with {model}",
            hint=f"--pull {pull.address.host}/{pull.address.reference.name}@{model.digest}",
        )


def node_store() -> Path:
    """Where a node keeps what its jobs bring: below ``TMPDIR``, one for each user.

    Raises:
        StoreError: somebody else has made that folder, and could change what is in it.
    """
    folder = Path(tempfile.gettempdir()) / f"xttsreg-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise StoreError(f"{folder}: belongs to somebody else", hint="set TMPDIR to another place")
    return folder / "store"
