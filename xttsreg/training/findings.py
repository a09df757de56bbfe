"""What a check of a dataset found: one line for people each, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xttsreg.errors import InvalidDataset

TOPICS = ("metadata", "clips", "audio", "lengths", "texts", "names", "split")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong (``fatal``) or noteworthy.

    Attributes:
        topic: One of `TOPICS`.
        message: One line.
        action: What to do about it.
        fatal: Training must not begin.
    """

    topic: str
    message: str
    action: str = ""
    fatal: bool = False


def raise_first(findings: Sequence[Finding]) -> None:
    """Raise the first fatal finding, if there is one.

    Raises:
        InvalidDataset: the finding.
    """
    for finding in findings:
        if finding.fatal:
            raise InvalidDataset(finding.message, hint=finding.action or None)


def clips(count: int) -> str:
    """A number of clips.

    >>> clips(1), clips(2)
    ('1 clip', '2 clips')
    """
    return "1 clip" if count == 1 else f"{count} clips"


def some(names: Sequence[str], limit: int = 3) -> str:
    """The first few of a list of names.

    >>> some(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
