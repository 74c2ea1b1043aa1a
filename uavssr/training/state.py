"""State of a training run between two steps: the content of a checkpoint."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from uavssr.evaluation import ImageErrors, mean_ratio_to_ridge
from uavssr.model import PGUNet

SMOOTHED_STEPS: Final = 20
"""Steps over which the relative RMSE is averaged to detect an explosion."""
EXPLOSION_RATIO: Final = 5.0
"""A run has exploded if its averaged relative RMSE exceeds this many times its minimum so far."""
EXPLOSION_RMSE: Final = 1.0
"""Relative RMSE up to which a run never counts as exploded: errors as large as the signal."""


@dataclass(slots=True, kw_only=True)
class TrainState:
    """The state of a run between two steps."""

    model: PGUNet
    """The network that is trained."""
    average: PGUNet
    """The moving average of its weights."""
    optimiser: torch.optim.Optimizer
    """The optimiser of the model's weights."""
    settings: Mapping[str, object]
    """Settings of the run; a resumed run must have the same."""
    step: int = 0
    """Number of steps made."""
    recent_rmse: deque[float] = field(default_factory=lambda: deque(maxlen=SMOOTHED_STEPS))
    """Relative RMSE of the last steps."""
    least_rmse: float = math.inf
    """Smallest mean of `recent_rmse` so far."""
    best_weights: dict[str, Tensor] | None = None
    """The averaged weights with the best validation so far."""
    best_step: int = 0
    """Number of steps after which they were reached."""
    best_errors: list[ImageErrors] = field(default_factory=list)
    """Their errors on the validation images; empty without validation images."""

    def content(self) -> dict[str, object]:
        """The content of a checkpoint."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "settings": dict(self.settings),
            "recent": list(self.recent_rmse),
            "least": self.least_rmse,
            "best": self.best_weights,
            "best_step": self.best_step,
            "validated": [asdict(errors) for errors in self.best_errors],
        }

    def restore(self, content: Mapping[str, Any]) -> None:
        """Take over the content of a checkpoint."""
        self.step = int(content["step"])
        self.model.load_state_dict(content["model"])
        self.average.load_state_dict(content["average"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.recent_rmse.extend(content["recent"])
        self.least_rmse = float(content["least"])
        self.best_weights, self.best_step = content["best"], int(content["best_step"])
        self.best_errors = [ImageErrors(**errors) for errors in content["validated"]]

    @property
    def mean_rmse(self) -> float:
        """Mean relative RMSE of the last steps."""
        return math.fsum(self.recent_rmse) / max(len(self.recent_rmse), 1)

    def has_exploded(self, figures: Mapping[str, float]) -> bool:
        """Whether the run has exploded with the relative RMSE of one more step."""
        self.recent_rmse.extend(v for key, v in figures.items() if key.endswith("_rmse"))
        if len(self.recent_rmse) < SMOOTHED_STEPS:
            return False
        self.least_rmse = min(self.least_rmse, self.mean_rmse)
        return self.mean_rmse > max(EXPLOSION_RATIO * self.least_rmse, EXPLOSION_RMSE)

    def keep_if_better(self, errors: Sequence[ImageErrors], *, always: bool) -> None:
        """Keep the present averaged weights if these errors are less than those kept so far."""
        if (
            always
            or not self.best_errors
            or mean_ratio_to_ridge(errors) < mean_ratio_to_ridge(self.best_errors)
        ):
            self.best_errors, self.best_step = list(errors), self.step
            self.best_weights = {
                key: tensor.clone() for key, tensor in self.average.state_dict().items()
            }
