"""Training of any network for a given processor time, the same way for all that are compared.

Adam with a cosine down to a hundredth of its rate, and the last moving average of the weights. It
is never the best of several, which would need a look at the ground that is judged on.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

from uavssr.data import Batch, PatchSampler
from uavssr.errors import IncompleteRun, InputRefused
from uavssr.evaluation.baselines.method import CurvePoint, FitSettings
from uavssr.io.writers import replacing

BATCH: Final = 4
"""Patches of a step."""
RATE: Final = 1e-3
"""Largest learning rate, chosen for MST++ on validation patches of CAVE.

Its authors' 4e-4 (Cai et al. 2022) is for 300,000 steps, and too slow for a few minutes.
"""
CURVE_POINTS: Final = 12
"""Points of a learning curve, and checkpoints of a training."""
_TIMED_STEPS: Final = 4
_WARM_STEPS: Final = 1
_AVERAGE: Final = 0.998
"""Largest decay per step of the moving average."""

Network = TypeVar("Network", bound=nn.Module)
Loss = Callable[[nn.Module, Batch, int], Tensor]
"""The loss of a network on a batch in a step."""
Predict = Callable[[nn.Module, Batch], Tensor]
"""The cube (B, C, H, W) of a batch's images."""


def cube_loss(estimate: Tensor, truth: Tensor) -> Tensor:
    """(relative L1 + relative RMSE + mean angle) / 2 of cubes (B, C, n), averaged over B."""
    absolute, squared, angle = cube_errors(estimate, truth)
    return 0.5 * (absolute + squared + angle).mean()


def cube_errors(estimate: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Relative L1, relative RMSE and mean angle in radians of cubes (B, C, n), each (B,).

    L1 and RMSE are relative to the mean of each true cube.
    """
    level = truth.mean((1, 2))
    error = estimate - truth
    absolute = error.abs().mean((1, 2)) / level
    squared = error.square().mean((1, 2)).sqrt() / level
    cosine = torch.cosine_similarity(estimate, truth, dim=1).clamp(-1, 1 - 1e-6)
    return absolute, squared, torch.acos(cosine).mean(1)


@dataclass(slots=True)
class _State:
    """All that a checkpoint holds."""

    model: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    steps: int = 0
    """Steps in all; 0: not known yet."""
    step: int = 0
    seconds: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)

    def content(self) -> dict[str, Any]:
        parts = {
            name: getattr(self, name).state_dict() for name in ("model", "average", "optimiser")
        }
        curve = [asdict(point) for point in self.curve]
        return {
            **parts,
            "steps": self.steps,
            "step": self.step,
            "seconds": self.seconds,
            "curve": curve,
        }

    def restore(self, path: Path) -> None:
        try:
            content = torch.load(path, weights_only=True)
            for name in ("model", "average", "optimiser"):
                getattr(self, name).load_state_dict(content[name])
            counts = (content[key] for key in ("steps", "step", "seconds"))
            self.steps, self.step, self.seconds = counts
            self.curve = [CurvePoint(**point) for point in content["curve"]]
        except Exception as err:  # torch.load raises many types of errors for a damaged file
            raise InputRefused(
                f"the checkpoint is damaged ({type(err).__name__})",
                path=path,
                remedy="remove it to start again",
            ) from err


def fit_network(
    network: Network,
    data: PatchSampler,
    settings: FitSettings,
    *,
    loss: Loss,
    predict: Predict,
    rate: float = RATE,
    batch: int = BATCH,
) -> tuple[Network, int, tuple[CurvePoint, ...]]:
    """Train a network, or resume its training; returns the averaged network, steps and curve.

    The data of a step follow from (seed, step) alone. Without `settings.steps` the number of steps
    is what fits into `settings.seconds` of processor time, measured on the first steps.

    Raises:
        InputRefused: the checkpoint is damaged.
        IncompleteRun: a gradient is not finite; the last checkpoint is kept.
    """
    batch = settings.batch or batch
    average = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    state = _State(network, average, optimiser, steps=settings.steps or 0)
    if settings.checkpoint is not None and settings.checkpoint.is_file():
        state.restore(settings.checkpoint)
    checks = data.validation()
    if not state.steps:
        state.steps = _affordable_steps(network, data, settings, loss, batch)
    if not state.curve:
        state.curve.append(_measure(state, checks, predict))
    marks = {round(state.steps * k / CURVE_POINTS) for k in range(1, CURVE_POINTS + 1)}
    while state.step < state.steps:
        started = time.process_time()
        drawn = data.draw([settings.seed, state.step], batch)
        for group in optimiser.param_groups:
            cosine = 0.5 * (1 + math.cos(math.pi * state.step / state.steps))
            group["lr"] = rate * min(1.0, (state.step + 1) / 20) * max(cosine, 0.01)
        _step(network, optimiser, loss, drawn, state.step)
        _follow(average, network, min(_AVERAGE, (state.step + 1) / (state.step + 10)))
        state.step += 1
        state.seconds += time.process_time() - started
        if settings.progress is not None:
            settings.progress(state.step, state.steps)
        if state.step in marks:
            state.curve.append(_measure(state, checks, predict))
            if settings.checkpoint is not None:
                with replacing(settings.checkpoint, overwrite=True) as part:
                    torch.save(state.content(), part)
    return average.eval(), state.steps, tuple(state.curve)


def _step(
    network: nn.Module, optimiser: torch.optim.Optimizer, loss: Loss, batch: Batch, step: int
) -> None:
    network.train()
    optimiser.zero_grad(set_to_none=True)
    value = loss(network, batch, step)
    value.backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    if not torch.isfinite(norm):
        raise IncompleteRun(
            f"the gradient became {float(norm)} at step {step}",
            remedy="train with another seed, or leave this method out",
        )
    optimiser.step()


def _affordable_steps(
    network: nn.Module, data: PatchSampler, settings: FitSettings, loss: Loss, batch: int
) -> int:
    """Steps that fit into the budget; a copy of the network makes the timed ones."""
    trial = copy.deepcopy(network)
    optimiser = torch.optim.Adam(trial.parameters(), lr=0.0)
    for step in range(_WARM_STEPS + _TIMED_STEPS):
        if step == _WARM_STEPS:
            started = time.process_time()
        _step(trial, optimiser, loss, data.draw([settings.seed, step], batch), step)
    each = (time.process_time() - started) / _TIMED_STEPS
    return max(CURVE_POINTS, int(settings.seconds / each))


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Average = decay average + (1 - decay) weights."""
    for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(weight, 1 - decay)


@torch.no_grad()
def _measure(state: _State, checks: Batch, predict: Predict) -> CurvePoint:
    estimate = predict(state.average.eval(), checks)
    rmse = float((estimate - checks.hsi).square().mean().sqrt())
    return CurvePoint(step=state.step, seconds=state.seconds, rmse=rmse)
