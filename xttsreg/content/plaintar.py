"""Tar archives from strangers, read without being blown up.

Python's reader takes a header's word for how long a name is, and reads that much into memory. And
it fills the holes of sparse files, of which some bytes can stand for a terabyte.
"""

from __future__ import annotations

import tarfile
from typing import IO

MAX_HEADER_BYTES = 64 * 1024  # of a long name, or of extended attributes
_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip


class PlainMember(tarfile.TarInfo):
    """A member of an archive as we write them; for ``tarfile.open(..., tarinfo=PlainMember)``.

    Extended attributes come later and can change what it is: read it by `open_plain`.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> PlainMember:
        """Read a header.

        Raises:
            tarfile.ReadError: it is of a sparse file, or longer than any name.
        """
        info = super().frombuf(buf, encoding, errors)
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse file")
        if info.type in _EXTENDED and info.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {info.size} bytes")
        return info


def open_plain(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes] | None:
    """A member's bytes; None unless it is a regular file, as long as its header says."""
    if not member.isreg() or member.issparse() or "size" in member.pax_headers:
        return None
    return archive.extractfile(member)
