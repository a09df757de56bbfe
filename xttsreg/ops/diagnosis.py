"""A wrong byte has two homes: the medium, or the way from it. Reading once more tells which.

On a bad medium the same wrong bytes come again, and somebody has to bring the file again. From a
loose plug, a bad hub or bad memory other bytes come, or the right ones, and the file is fine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xttsreg.content.digest import Digest
from xttsreg.stores.uncached import digest_past_cache


def diagnose(
    files: Sequence[tuple[Path, Digest]], first: Digest | None, *, label: str | None = None
) -> str:
    """What to do about a file, or about parts, whose bytes were not the expected ones.

    Args:
        files: Path and expected digest, of one file or of all parts of a blob.
        first: What the first reading of the one file gave, if that is known.
        label: What the one file is to people.
    """
    for path, expected in files:
        name = label or path.name
        try:
            second = digest_past_cache(path)
            if second == expected:
                continue
            third = first if first is not None else digest_past_cache(path)
        except OSError as error:
            return f"reading {name} again ended with: {error.strerror}; the medium is bad"
        if second == third:
            return f"on the medium {name} is damaged, the same again on a second reading; {_BRING}"
        return f"{name} gave other bytes on a second reading: {_TRANSFER}"
    return f"a second reading gave the right bytes: {_TRANSFER}"


_BRING = "bring this one again"
_TRANSFER = (
    "the transfer is bad, not the file; try another port, cable or hub, or test this "
    "machine's memory"
)
