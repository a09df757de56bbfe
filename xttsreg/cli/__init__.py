"""Layer 5: the command line. Parse, one call into a lower layer, render.

Importing this package loads neither torch nor TTS nor requests; each verb loads what it needs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import xttsreg


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; ``sys.argv`` if None.

    Returns:
        The exit code, see ``docs/exit-codes.md``.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:  # scripts ask this often; it needs nothing but the number
        sys.stdout.write(f"xttsreg {xttsreg.__version__}\n")
        return 0
    from xttsreg.cli.app import run

    return run(given)
