"""Numbers for people."""

from __future__ import annotations


def human_size(size_bytes: int) -> str:
    """A size for people, in powers of ten as disks are sold.

    >>> human_size(1867929118)
    '1.87 GB'
    """
    size, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 999.5:  # what would be rounded to 1000 gets the next unit
            break
        size, unit = size / 1000, larger
    digits = 0 if unit == "B" or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f} {unit}"
