"""Where things are on this machine: the home, the store, the built-in data."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """``XTTSREG_HOME``, or the user's data directory of this system."""
    configured = os.environ.get("XTTSREG_HOME")
    if configured:
        return Path(configured).expanduser()
    from platformdirs import user_data_path

    return user_data_path("xttsreg", appauthor=False)


def default_store() -> Path:
    """The store that is used without ``--store``."""
    return home() / "store"


def default_runs() -> Path:
    """Where training runs go without ``--output``."""
    return home() / "runs"


def user_catalog() -> Path:
    """The user's own catalogue; read if it is there."""
    return home() / "catalog"


def builtin(name: str) -> Path:
    """A directory of built-in data, ``registry`` or ``bundles``.

    In the wheel they lie inside the package, in a checkout beside it.
    """
    packaged = package() / "_data" / name
    return packaged if packaged.is_dir() else package().parent / name


def package() -> Path:
    """The directory of the code."""
    return Path(__file__).resolve().parent
