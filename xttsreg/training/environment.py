"""What training needs around it: packages, their versions, and an environment without network."""

from __future__ import annotations

import os
import platform
import sys

from xttsreg.training import engine

_DISTRIBUTIONS = (
    *(name for one in engine.ENGINES for name in (one.tts, one.trainer)),
    "torch",
    "torchaudio",
    "torchcodec",
    "transformers",
    "tokenizers",
    "numpy",
    "coqpit",
    "coqpit-config",
    "xttsreg",
)

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
        MissingDependency: as `engine.require_engine`.
    """
    engine.require_engine()


def versions() -> dict[str, str]:
    """Return Python's, the platform's and the training packages' versions; absent ones left out."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    known = ((name.lower(), engine.version_of(name)) for name in _DISTRIBUTIONS)
    return found | {name: version for name, version in known if version}


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
    engine.prepare()
