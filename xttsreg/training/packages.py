"""Which packages an engine needs, at which version, and which of them are here.

Nothing is imported here: the core runs without torch, and its doctor says what is missing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from pathlib import Path

from xttsreg.errors import MissingDependency
from xttsreg.training.engine import Engine, find_engine, suggested

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PIN = re.compile(r"^([A-Za-z0-9._-]+)\s*==\s*([^;\s]+)")
_EXTRA = re.compile(r"""\bextra\s*==\s*['"]([A-Za-z0-9._-]+)['"]""")


def training_pins(engine: Engine) -> dict[str, str]:
    """Return the versions that the extra of an engine pins, by distribution; empty if unknown.

    They come from the installed package, or in a checkout from its pyproject.toml.
    """
    try:
        lines = importlib.metadata.requires("xttsreg") or []
        wanted = [line for line in lines if engine.extra in _EXTRA.findall(line)]
    except importlib.metadata.PackageNotFoundError:
        wanted = _from_checkout(engine.extra)
    found = (_PIN.match(line) for line in wanted)
    # Build tools write the names in lower case, people do not.
    return {match.group(1).lower(): match.group(2) for match in found if match}


def _from_checkout(extra: str) -> list[str]:
    path = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if not path.is_file():
        return []
    project = tomllib.loads(path.read_text("utf-8")).get("project", {})
    extras: dict[str, list[str]] = project.get("optional-dependencies", {})
    return extras.get(extra, []) if project.get("name") == "xttsreg" else []


def missing_for(language: str) -> list[str]:
    """Return the packages, as pip names them, that texts in a language still need."""
    engine = find_engine() or suggested()
    groups = engine.languages.get(language.split("-")[0], ())
    absent = [group[0] for group in groups if not any(map(_is_there, group))]
    return [name.replace("_", "-") for name in absent]


def require_language(language: str) -> None:
    """Make sure that texts in a language can be read.

    Raises:
        MissingDependency: a package is missing; TTS would skip every clip, or fail in the middle.
    """
    missing = missing_for(language)
    if missing:
        raise MissingDependency(
            f"texts in {language!r} need {', '.join(missing)}, not installed here",
            extra=(find_engine() or suggested()).extra,
            hint=f"pip install {' '.join(missing)}",
        )


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
