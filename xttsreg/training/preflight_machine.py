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
from xttsreg.training import engine
from xttsreg.training.environment import no_gpu_hint, prepare_environment
from xttsreg.training.options import TrainOptions
from xttsreg.training.packages import missing_for, training_pins
from xttsreg.training.preflight import Check, Checks, guarded, ok, warn

_WITH_PACKAGES = ("ja", "zh", "ko")


def examine_machine(options: TrainOptions | None = None) -> list[Check]:
    """Check what does not depend on weights or data; only the planned language, if there is one."""
    device = options.device if options else "auto"
    codes = (options.language,) if options else _WITH_PACKAGES
    checks = list(check_training())
    if checks[-1].level != "ok":
        return checks
    gpus = options.gpus if options else ""
    prepare_environment(device, gpus)  # before anything of TTS is imported
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
        found = engine.require_engine()
    except MissingDependency as error:
        hint = error.hint if engine.find_engine() else _what_to_install()
        action = f"{hint}; all but train, synth, exec and demo works without"
        return [Check("training", "warn", f"{text}; {error.message}", action)]
    torch = engine.version_of("torch")
    return [ok("training", f"{text}, {found.name} (xttsreg[{found.extra}]), torch {torch}")]


def _what_to_install() -> str:
    """Name the extra that fits this Python and this GPU."""
    capability = _ask_driver("compute_cap") or ""
    fitting = engine.suggested(gpu=capability)
    command = f"pip install 'xttsreg[{fitting.extra}]'"
    if fitting is not engine.suggested():
        first = ".".join(map(str, fitting.pythons[0]))
        command += f" (Python {first} or newer); its torch knows this GPU, {capability}"
    return command


def check_pins() -> Checks:
    """Whether the packages have the versions that were tested together."""
    here = engine.require_engine()
    pins = training_pins(here)
    if not pins:
        text = f"the pins of xttsreg[{here.extra}] cannot be found"
        yield warn("packages", text, here.constrained)
        return
    others = []
    for name, pin in pins.items():
        version = engine.version_of(name)
        if version is None:
            others.append(f"{name} is missing (pin {pin})")
        elif version.partition("+")[0] != pin:
            others.append(f"{name} {version} (pin {pin})")
    if others:
        text = f"other versions than tested: {', '.join(others)}"
        yield warn("packages", text, here.constrained)
    else:
        yield ok("packages", f"{len(pins)} of {len(pins)} have the tested version")


def check_import() -> Checks:
    """Import what a run imports: versions that do not fit together show here, and only here."""
    here = engine.require_engine()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module("trainer")
            importlib.import_module("TTS.tts.layers.xtts.trainer.gpt_trainer")
        except (ImportError, OSError, AttributeError, RuntimeError) as error:
            line = (str(error).strip() or repr(error)).splitlines()[0]
            raise MissingDependency(
                f"{here.name} does not import: {type(error).__name__}: {line}",
                extra=here.extra,
                hint=f"packages of other versions are the usual cause: {here.constrained}",
            ) from error
    yield ok("TTS", "the XTTS trainer imports")


def check_gpu(device: str) -> Checks:
    """Whether torch can use a GPU, and if not, why."""
    import torch

    driver = _ask_driver("driver_version")
    if not torch.cuda.is_available():
        reason = _why_no_gpu(driver, torch.version.cuda)
        if device == "cuda":
            raise InvalidInputError(f"no usable GPU: {reason}", hint=no_gpu_hint())
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
        newer = "a newer torch"
        if engine.find_engine() is not engine.NEXT:
            newer = f"'xttsreg[{engine.NEXT.extra}]', whose torch is newer (docs/engines.md)"
        raise XttsregError(
            f"{name} is an sm_{major}{minor}, and this torch has code for {', '.join(built_for)}",
            hint=f"use --device cpu, or a virtual environment of its own with {newer}",
        )


def _why_no_gpu(driver: str | None, cuda: str | None) -> str:
    if cuda is None:
        return "this torch is built for CPUs only"
    if driver:
        return f"torch for CUDA {cuda} cannot use driver {driver}; is it too old, or hidden?"
    return "no NVIDIA driver on this machine"


def _ask_driver(what: str) -> str | None:
    """Return what nvidia-smi says about the first GPU; None if there is none."""
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"]
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
