"""What ``xttsreg exec`` tells the processes below it: a small file that a variable names."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "XTTSREG_EXEC"
"""Environment variable with the path of the plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One ``exec``.

    Attributes:
        model: The weight set that answers, with its digest, for messages.
        revision: Upstream's commit of that set; empty for a set of one's own.
        view: Directory with the set's files, checked.
        state: Directory of this run, for everything that does not outlive it.
        files: Name of each file of the set to its sha256 in hex.
        architecture: Fields of ``GPTArgs`` that say how large the set's model is.
        debug: Show tracebacks of refusals.
    """

    model: str
    revision: str
    view: Path
    state: Path
    files: dict[str, str] = field(default_factory=dict)
    architecture: dict[str, Any] = field(default_factory=dict)
    debug: bool = False

    @property
    def notes(self) -> Path:
        """Where processes leave what the command has to be told at its end."""
        return self.state / "notes"

    @property
    def links(self) -> Path:
        """Paths of the links that were put into the recipe's folders, one a line."""
        return self.state / "links"

    def save(self, path: Path) -> None:
        """Write the plan."""
        content = {**asdict(self), "view": str(self.view), "state": str(self.state)}
        path.write_text(json.dumps(content), encoding="utf-8")


def load_plan() -> Plan | None:
    """Return the plan of the ``exec`` above this process; None once that has ended."""
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Plan(**{**content, "view": Path(content["view"]), "state": Path(content["state"])})
