"""Loads the shim into every Python process below ``xttsreg exec``, before the program starts.

``site`` imports the first module of this name. The one that would have been found without us, a
company's or a distribution's, is run afterwards and takes the name over.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  start-up counts


def _load_shim() -> None:
    package = os.path.dirname(os.path.dirname(os.path.dirname(_HERE)))  # noqa: PTH120
    if importlib.util.find_spec("xttsreg") is None:
        # This Python does not have xttsreg. It gets this one package, not the directory that the
        # package lies in: there may be a whole site-packages of another Python around it.
        where = os.path.join(package, "__init__.py")  # noqa: PTH118
        spec = importlib.util.spec_from_file_location(
            "xttsreg", where, submodule_search_locations=[package]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"no xttsreg at {package}")
        module = importlib.util.module_from_spec(spec)
        sys.modules["xttsreg"] = module
        spec.loader.exec_module(module)
    from xttsreg.training.shim.start import start

    start()


def _load_next() -> None:
    elsewhere = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]  # noqa: PTH100
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if "XTTSREG_EXEC" in os.environ:
    _load_shim()
    _load_next()
