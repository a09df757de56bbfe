"""What a run leaves behind, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xttsreg.training.dataset import DatasetSummary
from xttsreg.training.proof import Proof


@dataclass(frozen=True, slots=True)
class StepLoss:
    """Losses of one training step. ``step`` counts from 1; ``seconds`` since the training began."""

    step: int
    epoch: int
    loss: float
    loss_text_ce: float
    loss_mel_ce: float
    lr: float
    seconds: float


@dataclass(frozen=True, slots=True)
class EvalLoss:
    """Mean losses of one evaluation after ``step`` steps; step 0 is the base before training."""

    step: int
    epoch: int
    loss: float
    loss_text_ce: float
    loss_mel_ce: float
    clips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A finished run.

    Attributes:
        directory: The run's folder.
        best_checkpoint: Trainer checkpoint with the lowest loss.
        step_losses: One for each step.
        eval_losses: One for each evaluation; empty without evaluation.
        proof: That the base was restored completely.
        dataset: What was trained on.
        options: The options as given.
        config: The trainer's config as used.
        versions: Of Python and the packages.
        started: ISO time, UTC.
        finished: ISO time, UTC.
        violations: Connections that were refused and that other code went on without.
    """

    directory: Path
    best_checkpoint: Path
    step_losses: tuple[StepLoss, ...]
    eval_losses: tuple[EvalLoss, ...]
    proof: Proof
    dataset: DatasetSummary
    options: dict[str, Any]
    config: dict[str, Any]
    versions: dict[str, str]
    started: str
    finished: str
    violations: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON types."""
        return {
            "directory": str(self.directory),
            "best_checkpoint": self.best_checkpoint.name,
            "step_losses": [asdict(loss) for loss in self.step_losses],
            "eval_losses": [asdict(loss) for loss in self.eval_losses],
            "proof": self.proof.as_dict(),
            "dataset": self.dataset.as_dict(),
            "options": self.options,
            "config": self.config,
            "versions": self.versions,
            "started": self.started,
            "finished": self.finished,
            "violations": list(self.violations),
        }
