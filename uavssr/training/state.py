"""Where a training run stands: all that a checkpoint holds, and when to give up or to keep weights.

Must not make steps or write files.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from uavssr.evaluation import ImageErrors, mean_ratio_to_ridge
from uavssr.model import PGUNet

EXPLODED: Final = 5.0
"""A run has exploded when its relative RMSE is this many times the least it has had ..."""
SMOOTHED: Final = 20
"""... both as means over this many steps ..."""
HOPELESS: Final = 1.0
"""... and above this: wrong by more than the scenes are bright."""


@dataclass(slots=True, kw_only=True)
class TrainState:
    """A run between two steps."""

    model: PGUNet
    """The weights that are moved."""
    average: PGUNet
    """Their moving average."""
    optimiser: torch.optim.Optimizer
    """Of the model's weights."""
    settings: Mapping[str, object]
    """With which the run was begun, and must go on."""
    step: int = 0
    """How many steps were made."""
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=SMOOTHED))
    """Relative RMSE of the last steps."""
    least: float = math.inf
    """The least mean of these so far."""
    best: dict[str, Tensor] | None = None
    """The averaged weights that are kept so far."""
    best_step: int = 0
    """After how many steps they stood."""
    validated: list[ImageErrors] = field(default_factory=list)
    """Their errors; empty where nothing is set apart."""

    def content(self) -> dict[str, object]:
        """For a checkpoint."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "settings": dict(self.settings),
            "recent": list(self.recent),
            "least": self.least,
            "best": self.best,
            "best_step": self.best_step,
            "validated": [asdict(each) for each in self.validated],
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """From a checkpoint's content."""
        self.step = int(saved["step"])
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.recent.extend(saved["recent"])
        self.least = float(saved["least"])
        self.best, self.best_step = saved["best"], int(saved["best_step"])
        self.validated = [ImageErrors(**each) for each in saved["validated"]]

    def exploded(self, figures: Mapping[str, float]) -> bool:
        """Whether the errors of the last steps, this one included, are past all hope."""
        self.recent.extend(v for key, v in figures.items() if key.endswith("_rmse"))
        if len(self.recent) < SMOOTHED:
            return False
        self.least = min(self.least, self.level)
        return self.level > max(EXPLODED * self.least, HOPELESS)

    @property
    def level(self) -> float:
        """Mean relative RMSE of the last steps."""
        return math.fsum(self.recent) / max(len(self.recent), 1)

    def judge(self, validated: list[ImageErrors], *, last: bool) -> None:
        """Keep the averaged weights that stand now if they are the best, or the last ones wanted.

        Args:
            validated: their errors; none where there is nothing to validate on.
            last: keep them however good they are.
        """
        if (
            last
            or not self.validated
            or mean_ratio_to_ridge(validated) < mean_ratio_to_ridge(self.validated)
        ):
            self.validated, self.best_step = validated, self.step
            self.best = {key: t.clone() for key, t in self.average.state_dict().items()}
