"""What happens when a Python process below ``xttsreg exec`` starts."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial

from xttsreg.errors import OfflineViolation
from xttsreg.training.engine import read_audio_without_codec
from xttsreg.training.guard import offline_guard
from xttsreg.training.shim import downloads, notes, samples, training
from xttsreg.training.shim.imports import after_import
from xttsreg.training.shim.plan import Plan, load_plan

_forever = ExitStack()


class _Noted(list[OfflineViolation]):
    """Violations that are written down when they happen: the program may swallow them."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def append(self, violation: OfflineViolation) -> None:
        super().append(violation)
        notes.leave(self._plan, notes.SEEN, violation)


def start() -> None:
    """Close the network for this process, and have TTS, trainer and torch patched on import."""
    guard = _forever.enter_context(offline_guard())
    plan = load_plan()
    if plan is None:  # a process that outlived its command: no weights any more, still no network
        return
    guard.violations = _Noted(plan)
    (plan.state / "python").touch()
    notes.watch_exit(plan)
    after_import(
        {
            "torch": partial(downloads.patch_torch, plan),
            "fsspec": partial(downloads.patch_fsspec, plan),
            "huggingface_hub.file_download": partial(downloads.patch_hub, plan),
            "huggingface_hub._snapshot_download": partial(downloads.patch_hub, plan),
            "torchaudio": read_audio_without_codec,
            "TTS.tts.datasets": partial(samples.patch_datasets, plan),
            "TTS.utils.manage": partial(downloads.patch_manager, plan),
            "TTS.tts.layers.xtts.trainer.gpt_trainer": partial(training.patch_model, plan),
            "trainer.trainer": partial(training.patch_trainer, plan),
        }
    )
    os.environ["TRAINER_TELEMETRY"] = "0"  # a script may have cleaned its child's environment
