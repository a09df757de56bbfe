"""How many packages each part of xttsreg brings: ``python tests/support/dependencies.py``.

Every one of them is code that runs as the user. What is counted is installed here, to the last
one; what is not installed counts as one.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement

from xttsreg.content.strict import tomllib

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"

MOST = {"": 30, "serve": 40}
"""More than that wants a reason. What trains brings well over a hundred, and pins them all."""


def closure(extra: str = "") -> set[str]:
    """Names of all packages that xttsreg needs, with this extra."""
    todo, seen = [("xttsreg", extra)], set[tuple[str, str]]()
    while todo:
        name, wanted = item = todo.pop()
        if item in seen:
            continue
        seen.add(item)
        for text in _requirements(name, wanted):
            needed = Requirement(text)
            if needed.marker and not needed.marker.evaluate({"extra": wanted}):
                continue
            other = re.sub(r"[-_.]+", "-", needed.name).lower()
            todo += [(other, extra) for extra in ("", *needed.extras)]
    return {name for name, _ in seen} - {"xttsreg"}


def _requirements(name: str, extra: str) -> list[str]:
    if name == "xttsreg":  # as it is here, whatever was installed
        project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
        return [*project["dependencies"], *project["optional-dependencies"].get(extra, ())]
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def main() -> None:
    """Print the numbers."""
    for extra in ("", "serve", "bundle", "train"):
        print(f"{'xttsreg' + (extra and f'[{extra}]'):<16} {len(closure(extra)):>4} packages")


if __name__ == "__main__":
    main()
