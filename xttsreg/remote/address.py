"""Where something is in a registry: ``host[:port]/repository[:tag][@sha256:...]``.

Source of the grammar: OCI distribution-spec, "Pulling manifests"; what counts as a host follows
docker: the first part has a dot or a colon, or is ``localhost``.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from xttsreg.content.digest import Digest
from xttsreg.content.reference import Reference
from xttsreg.errors import InvalidReference

_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Address:
    """A manifest in a registry. ``Address.parse(str(a)) == a``.

    Attributes:
        host: Name or address of the registry, with its port if it has one.
        reference: Repository, tag and digest there.
    """

    host: str
    reference: Reference

    @classmethod
    def parse(cls, text: str, *, tag: str | None = None) -> Address:
        """Parse ``host[:port]/repository[:tag][@digest]``.

        Args:
            text: What the user wrote.
            tag: What no tag means; ``main`` by default, as everywhere.

        Raises:
            InvalidReference: it does not follow the grammar.
            InvalidDigest: the part after ``@`` is no digest.

        >>> str(Address.parse("registry.lan:5000/team/voice:v1"))
        'registry.lan:5000/team/voice:v1'
        """
        host, slash, rest = text.partition("/")
        if not slash or not looks_like_host(host) or not _HOST.fullmatch(host):
            raise InvalidReference(
                f"not a place in a registry: {text[:200]!r}",
                hint="write host/repository:tag, e.g. registry.lan:5000/team/voice:v1",
            )
        if tag and not rest.partition("@")[0].rpartition("/")[2].count(":"):
            name, at, digest = rest.partition("@")
            rest = f"{name}:{tag}{at}{digest}"
        return cls(host, Reference.parse(rest))

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        name = re.sub(r":[0-9]+$", "", self.host).strip("[]")
        if name == "localhost":
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    @property
    def identifier(self) -> str:
        """What the registry calls the manifest: the digest if there is one, else the tag."""
        return self.reference.digest or self.reference.tag

    def at(self, digest: Digest) -> Address:
        """The same place, pinned."""
        ref = self.reference
        return Address(self.host, Reference(ref.name, ref.tag, digest))

    def __str__(self) -> str:
        """The full form, with the tag always written."""
        return f"{self.host}/{self.reference}"


def looks_like_host(text: str) -> bool:
    """Whether the first part of a name is a host and not a part of a repository.

    >>> looks_like_host("registry.lan"), looks_like_host("localhost"), looks_like_host("team")
    (True, True, False)
    """
    return "." in text or ":" in text or text == "localhost"
