"""The doctor's checks of the machine: Python, packages, whether TTS imports, GPU, languages."""

from __future__ import annotations

import contextlib
import importlib
import io
import platform
import shutil
import subprocess
import warnings
from collections.abc import Sequence

from xttsreg.errors import InvalidInputError, MissingDependency, XttsregError
from xttsreg.training.environment import prepare_environment, require_training
from xttsreg.training.options import TrainOptions
from xttsreg.training.packages import installed, missing_for, training_pins
from xttsreg.training.preflight import Check, Checks, guarded, ok, warn

_WITH_PACKAGES = ("ja", "zh", "ko")
_CONSTRAINED = "pip install -c constraints/train.txt 'xttsreg[train]'"


def examine_machine(options: TrainOptions | None = None) -> list[Check]:
    """Check what does not depend on weights or data; only the planned language, if there is one."""
    device = options.device if options else "auto"
    codes = (options.language,) if options else _WITH_PACKAGES
    checks = list(check_training())
    if checks[-1].level != "ok":
        return checks
    prepare_environment(device)  # before anything of TTS is imported
    checks += guarded("packages", check_pins)
    importing = guarded("TTS", check_import)
    checks += importing
    if importing[-1].level == "ok":
        checks += guarded("gpu", lambda: check_gpu(device))
    return checks + guarded("languages", lambda: check_languages(codes))


def check_training() -> Checks:
    """Whether the training half is installed; everything else works without it."""
    text = f"Python {platform.python_version()}"
    try:
        require_training()
    except MissingDependency as error:
        action = (error.hint or "") + "; all but train, synth, exec and demo works without"
        return [Check("training", "warn", f"{text}; {error.message}", action)]
    return [ok("training", f"{text}, TTS {installed('TTS')}, torch {installed('torch')}")]


def check_pins() -> Checks:
    """Whether the packages have the versions that were tested together."""
    pins = training_pins()
    if not pins:
        yield warn("packages", "the pins of xttsreg[train] cannot be found", _CONSTRAINED)
        return
    others = []
    for name, pin in pins.items():
        version = installed(name)
        if version is None:
            others.append(f"{name} is missing (pin {pin})")
        elif version.partition("+")[0] != pin:
            others.append(f"{name} {version} (pin {pin})")
    if others:
        text = f"other versions than tested: {', '.join(others)}"
        yield warn("packages", text, _CONSTRAINED)
    else:
        yield ok("packages", f"{len(pins)} of {len(pins)} have the tested version")


def check_import() -> Checks:
    """Import what a run imports: versions that do not fit together show here, and only here."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module("trainer")
            importlib.import_module("TTS.tts.layers.xtts.trainer.gpt_trainer")
        except (ImportError, OSError, AttributeError, RuntimeError) as error:
            line = (str(error).strip() or repr(error)).splitlines()[0]
            raise MissingDependency(
                f"TTS {installed('TTS')} does not import: {type(error).__name__}: {line}",
                extra="train",
                hint=f"packages of other versions are the usual cause: {_CONSTRAINED}",
            ) from error
    yield ok("TTS", "the XTTS trainer imports")


def check_gpu(device: str) -> Checks:
    """Whether torch can use a GPU, and if not, why."""
    import torch

    driver = _driver()
    if not torch.cuda.is_available():
        reason = _why_no_gpu(driver, torch.version.cuda)
        if device == "cuda":
            raise InvalidInputError(f"no usable GPU: {reason}", hint="use --device cpu")
        yield warn("gpu", f"none: {reason}", "training runs on the CPU: fine to try, slow for real")
        return
    name = torch.cuda.get_device_name(0)
    major, minor = torch.cuda.get_device_capability(0)
    _require_kernels(name, major, minor, torch.cuda.get_arch_list())
    total_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
    text = f"{name}, {total_gb:.0f} GB, driver {driver or 'unknown'}, CUDA {torch.version.cuda}"
    yield ok("gpu", text)


def _require_kernels(name: str, major: int, minor: int, built_for: list[str]) -> None:
    """Code for a GPU runs on later ones of the same major version, not on the next major one."""
    numbers = [int(arch[3:]) for arch in built_for if arch.startswith("sm_") and arch[3:].isdigit()]
    fits = any(number // 10 == major and number % 10 <= minor for number in numbers)
    newer_ptx = any(arch.startswith("compute_") for arch in built_for)
    if numbers and not fits and not newer_ptx:
        raise XttsregError(
            f"{name} is an sm_{major}{minor}, and this torch has code for {', '.join(built_for)}",
            hint="use --device cpu, or an environment with a newer torch (docs/training.md)",
        )


def _why_no_gpu(driver: str | None, cuda: str | None) -> str:
    if cuda is None:
        return "this torch is built for CPUs only"
    if driver:
        return f"torch for CUDA {cuda} cannot use driver {driver}; is it too old, or hidden?"
    return "no NVIDIA driver on this machine"


def _driver() -> str | None:
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        lines = done.stdout.split() if done.returncode == 0 else []
        return lines[0] if lines else None
    return None


def check_languages(codes: Sequence[str] = _WITH_PACKAGES) -> Checks:
    """Which languages miss a package; TTS itself would only notice at the first text."""
    lacking = {code: missing_for(code) for code in codes}
    absent = {code: names for code, names in lacking.items() if names}
    if not absent:
        yield ok("languages", f"{', '.join(codes)}: nothing is missing")
        return
    for code, names in absent.items():
        wanted = " ".join(names)
        text = f"texts in {code} need {wanted}, other languages do not"
        yield warn("languages", text, f"for {code}: pip install {wanted}")
