"""Runs a function right after a module has been imported, whoever imports it."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Patch = Callable[[Any], None]


class _Finder:
    """Finds what the others find, and has the module patched once it is executed."""

    def __init__(self, patches: Mapping[str, Patch]) -> None:
        self._patches = dict(patches)
        self._busy = threading.local()

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        patch = self._patches.get(name)
        if patch is None or getattr(self._busy, "name", None) == name:
            return None
        self._busy.name = name  # the search below comes through here again
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._busy.name = None
        loader = spec.loader if spec is not None else None
        if loader is None:
            return spec
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            patch(module)

        loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def after_import(patches: Mapping[str, Patch]) -> None:
    """Patch modules when they are imported; those that are there already at once.

    Args:
        patches: Module name to function of the module.
    """
    sys.meta_path.insert(0, _Finder(patches))
    for name, patch in patches.items():
        if name in sys.modules:
            patch(sys.modules[name])
