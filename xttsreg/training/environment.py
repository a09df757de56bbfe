"""What training needs around it: packages, their versions, and an environment without network."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys

from xttsreg.errors import MissingDependency

_MODULES = ("torch", "torchaudio", "TTS", "trainer")
_DISTRIBUTIONS = (
    "TTS",
    "trainer",
    "torch",
    "torchaudio",
    "transformers",
    "tokenizers",
    "numpy",
    "coqpit",
    "xttsreg",
)
_SUPPORTED = ((3, 10), (3, 11))  # TTS 0.22.0 wants < 3.12, xttsreg wants >= 3.10

_OFFLINE = {
    "TRAINER_TELEMETRY": "0",  # read once, while trainer is imported
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",  # its warnings are about how TTS uses it
    "DO_NOT_TRACK": "1",
    "WANDB_MODE": "offline",
    "MPLBACKEND": "Agg",  # no display on a compute node
    "TOKENIZERS_PARALLELISM": "false",  # its threads and forked data loaders do not go together
}


def require_training() -> None:
    """Make sure that the training half can be imported.

    Raises:
        MissingDependency: another Python than 3.10 or 3.11, or TTS, trainer or torch missing.
    """
    version = sys.version_info[:2]
    if version not in _SUPPORTED:
        raise MissingDependency(
            f"training needs Python 3.10 or 3.11, this is {version[0]}.{version[1]}",
            extra="train",
            hint="make a virtual environment with python3.11 and run: pip install 'xttsreg[train]'",
        )
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependency(
            f"training needs {', '.join(missing)}, which this Python does not have", extra="train"
        )


def versions() -> dict[str, str]:
    """Return Python's, the platform's and the training packages' versions; absent ones left out."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _DISTRIBUTIONS:
        try:
            found[name.lower()] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def offline_environment() -> dict[str, str]:
    """Return the variables that keep TTS, trainer and the hub's client off the network."""
    return dict(_OFFLINE)


def prepare_environment(device: str = "auto") -> None:
    """Switch off telemetry and hub access; choose the visible GPUs. Call before TTS is imported.

    A process that has imported trainer already is put right as well.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``. ``cpu`` hides all GPUs. Otherwise the first one is
            shown unless ``CUDA_VISIBLE_DEVICES`` is set: trainer refuses to see more than one.
    """
    os.environ.update(_OFFLINE)
    analytics = sys.modules.get("trainer.analytics")
    if analytics is not None:
        analytics.telemetry = "0"  # type: ignore[attr-defined]
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    else:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
