"""Tar archives from strangers, read without being blown up.

Python's reader takes a header's word for how long a name is, and reads that much into memory. And
it fills the holes of sparse files, of which some bytes can stand for a terabyte.
"""

from __future__ import annotations

import tarfile

MAX_HEADER_BYTES = 64 * 1024  # of a long name, or of extended attributes
_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip


class PlainMember(tarfile.TarInfo):
    """A member of an archive as we write them; for ``tarfile.open(..., tarinfo=PlainMember)``.

    Extended attributes come later and can change what it is: ask `is_plain`.
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

    def is_plain(self) -> bool:
        """Whether it is a regular file, as long as its header says."""
        return self.isreg() and not self.issparse() and "size" not in self.pax_headers
