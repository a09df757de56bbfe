"""What training needs around it: packages, their versions, and an environment without network."""

from __future__ import annotations

import os
import platform
import sys

from xttsreg.errors import InvalidInputError
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

_SHOWN = os.environ.get("CUDA_VISIBLE_DEVICES")  # before it is narrowed down below

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


def gpu_of(rank: int, gpus: str = "") -> str:
    """Return what CUDA_VISIBLE_DEVICES is to be for one process of a run.

    Args:
        rank: Which process, from 0 on.
        gpus: Numbers as the user gave them, e.g. ``0,1``; of those that this process was shown,
            where a scheduler has chosen already. Empty: the first ones.

    Raises:
        InvalidInputError: there is no such one among those shown.
    """
    wanted = gpus.split(",")[rank].strip() if gpus else str(rank)
    shown = [name.strip() for name in _SHOWN.split(",")] if _SHOWN else None
    if shown is None or wanted in shown:
        return wanted
    if wanted.isdigit() and int(wanted) < len(shown):
        return shown[int(wanted)]
    raise InvalidInputError(
        f"--gpus {gpus}: there is no GPU {wanted} among those of CUDA_VISIBLE_DEVICES={_SHOWN}",
        hint=f"they are counted from 0: --gpus {','.join(map(str, range(len(shown))))}",
    )


def no_gpu_hint() -> str:
    """Return what to do where torch sees no GPU."""
    if _SHOWN == "":
        return "CUDA_VISIBLE_DEVICES is set to nothing, which hides them all: unset it"
    return "use --device cpu, or check `nvidia-smi`"


def prepare_environment(device: str = "auto", gpus: str = "") -> None:
    """Switch off telemetry and hub access; choose the visible GPUs. Call before TTS is imported.

    A process that has imported trainer already is put right as well.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``. ``cpu`` hides all GPUs. Otherwise the first one is
            shown unless ``CUDA_VISIBLE_DEVICES`` is set: trainer refuses to see more than one.
        gpus: Of a run with several processes; the first of them is this one's.
    """
    os.environ.update(_OFFLINE)
    analytics = sys.modules.get("trainer.analytics")
    if analytics is not None:
        analytics.telemetry = "0"  # type: ignore[attr-defined]
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu_of(0, gpus)
    else:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    engine.prepare()
