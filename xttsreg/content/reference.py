"""References: ``name[:tag][@sha256:...]``, as docker and OCI registries write them.

Source of the grammar: OCI distribution-spec, "Pulling manifests" (name and reference).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from xttsreg.content.digest import Digest
from xttsreg.errors import InvalidReference

DEFAULT_TAG = "main"
"""What a name without a tag means: the branch of that name on the hub, where weights live."""

_NAME = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of a manifest in a store. ``Reference.parse(str(r)) == r``.

    Attributes:
        name: Repository, e.g. ``xtts_v2`` or ``team/my-voice``.
        tag: What it is called now; may move.
        digest: What it is; never moves. When given, it wins over the tag.
    """

    name: str
    tag: str = DEFAULT_TAG
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse ``name[:tag][@digest]``.

        Raises:
            InvalidReference: if it does not follow the grammar.
            InvalidDigest: if the part after ``@`` is no digest.

        >>> str(Reference.parse("my-voice:v3"))
        'my-voice:v3'
        """
        rest, at, digest = text.partition("@")
        name, colon, tag = rest.partition(":")
        if len(name) > 200 or not _NAME.fullmatch(name) or (colon and not _TAG.fullmatch(tag)):
            raise InvalidReference(
                f"not a reference: {text[:200]!r}",
                hint="write name:tag, e.g. xtts_v2:main; names are lowercase, without spaces",
            )
        return cls(name, tag or DEFAULT_TAG, Digest(digest) if at else None)

    @property
    def tagged(self) -> str:
        """``name:tag``, the form that ``index.json`` holds."""
        return f"{self.name}:{self.tag}"

    def __str__(self) -> str:
        """The full form, with the tag always written."""
        return f"{self.tagged}@{self.digest}" if self.digest else self.tagged
