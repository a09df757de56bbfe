"""Digests: ``sha256:`` and 64 lowercase hex digits, checked before they are used for anything.

Source of the format: OCI image-spec, descriptor.md, "Digests". Only sha256 is accepted: a digest
becomes a file name in the store, so nothing that does not match this pattern may come through.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from xttsreg.errors import InvalidDigest

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import core_schema

_PATTERN = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


class Digest(str):
    """A sha256 digest in OCI notation. ``Digest(str(d)) == d`` for every digest ``d``.

    Raises:
        InvalidDigest: if the text is anything else, trailing newline included.

    >>> Digest("sha256:" + "0" * 64).hex[:4]
    '0000'
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        """Check, then make."""
        if not isinstance(text, str) or not _PATTERN.fullmatch(text):
            raise InvalidDigest(
                f"not a digest: {str(text)[:80]!r}",
                hint="a digest is 'sha256:' and 64 lowercase hex digits",
            )
        return super().__new__(cls, text)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The digest of these bytes."""
        return cls.from_hex(hashlib.sha256(data).hexdigest())

    @classmethod
    def from_hex(cls, hex_digits: str) -> Digest:
        """The digest with these 64 hex digits, as ``sha256sum`` prints them."""
        return cls(f"sha256:{hex_digits}")

    @property
    def hex(self) -> str:
        """The 64 hex digits, without the algorithm."""
        return self[7:]

    @property
    def short(self) -> str:
        """The first 12 hex digits, for people only."""
        return self[7:19]

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Let pydantic models have fields of this type."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())
