"""Train PGU-Net on simulated scenes, patches of cubes, and images with the cube of their ground.

Every step draws its data from (seed, step, shard) alone, so a run that is stopped and resumed from
its checkpoint goes on as if it had never stopped, on one process or several. Must not open data.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from uavssr.data import MAX_BAND_SHIFT, Batch, TrainingData, observe_batch
from uavssr.errors import IncompleteRun
from uavssr.evaluation import ImageErrors, ValidationImage, fit_sigma_scale, validate
from uavssr.model import Model, PGUNet, PGUNetConfig, SpectralBasis, Stf, empty_prior, fit_mixture
from uavssr.sensors import FloatArray
from uavssr.spectra import SpectralLibrary
from uavssr.training.checkpoints import RunLog, read_checkpoint, write_checkpoint
from uavssr.training.config import LogFormat, TrainingConfig
from uavssr.training.distributed import ProcessGroup
from uavssr.training.loader import StepData, StepLoader
from uavssr.training.loss import bag_loss, loss_of
from uavssr.training.state import TrainState

CALIBRATED: Final = 12
"""Batches of four scenes on which the cube's standard errors are made honest."""

Progress = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run ends with."""

    network: PGUNet
    """The averaged weights that were kept, on the CPU, in evaluation mode."""
    step: int
    """After how many steps these weights stood."""
    validated: tuple[ImageErrors, ...]
    """Their errors on the validation images; empty where there are none."""


def initial_network(data: TrainingData, network: PGUNetConfig, config: TrainingConfig) -> PGUNet:
    """A network whose basis and prior are fitted and whose proximal networks are untrained."""
    torch.manual_seed(config.seed)
    spectra = prior_spectra(data, config)
    basis = SpectralBasis.fit(spectra, data.grid, rank=network.rank)
    coefficients = basis.project(torch.as_tensor(spectra.T, dtype=torch.float32)).T
    mixture = fit_mixture(coefficients, components=network.components, seed=config.seed)
    return PGUNet(network, basis, mixture)


def prior_spectra(data: TrainingData, config: TrainingConfig) -> FloatArray:
    """The spectra (n, C) of everything trained on, to which basis and mixture are fitted."""
    return data.draw_spectra(np.random.default_rng([config.seed, 2**32 - 1]), config.prior_scenes)


def train(
    data: TrainingData | SpectralLibrary,
    out: Path,
    *,
    network: PGUNetConfig | None = None,
    config: TrainingConfig | None = None,
    init: Model | None = None,
    images: Sequence[ValidationImage] = (),
    device: str = "cpu",
    workers: int = 0,
    log: LogFormat = "csv",
    team: ProcessGroup | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train, or go on training from `out`/checkpoint.pt.

    Args:
        data: what is drawn from; a library alone is simulated from. Its grid is the cube's.
        out: folder of the checkpoints and the logs.
        network: sizes; by default those of `init`, else of the released models.
        config: settings of the run.
        init: a model on the same grid whose weights, basis and mixture are the start.
        images: to validate on.
        device: where to train.
        workers: threads that draw the data of the next steps.
        log: whether TensorBoard's files are written beside the CSV files.
        team: the processes that share the shards of each step.
        progress: called after every step with its number and the parts of the loss.

    Raises:
        IncompleteRun: the loss became NaN or exploded; the last good checkpoint is kept.
    """
    data = TrainingData.of(data) if isinstance(data, SpectralLibrary) else data
    config, team = config or TrainingConfig(), team or ProcessGroup()
    if network is None:
        network = PGUNetConfig(bands=len(data.grid)) if init is None else init.network.config
    out.mkdir(parents=True, exist_ok=True)
    run = _begun(data, out, network, config, init, device)
    team.share_weights(run.model)
    team.share_weights(run.average)
    shards = team.own(config.shards)
    feed = StepLoader.of(data, run.average.basis, config, shards)
    logs = RunLog(out, start=run.step, tensorboard=log == "tensorboard") if team.leads else None
    with closing(feed.ahead(run.step, config.steps, workers)) as batches:
        for step, drawn in enumerate(batches, run.step):
            _set_rate(run.optimiser, config, step)
            figures = _step(run, [part.to(device) for part in drawn], step, config, team)
            _check(run, figures, step, out)
            _average(run.average, run.model, min(config.average, (step + 1) / (step + 10)))
            run.step = step + 1
            if logs is not None:
                logs.step(step, blind=step % 2 == 0, figures=figures)
                _validate(run, images, config, logs)
            if progress is not None:
                progress(step, figures)
            if team.leads and (run.step % config.checkpoint == 0 or run.step == config.steps):
                write_checkpoint(out, run.content())
    if logs is not None:
        logs.close()
    if run.best is not None:
        run.average.load_state_dict(run.best)
    trained = run.average.cpu().eval()
    trained.sigma_scale.copy_(fit_sigma_scale(trained, _held_back(data, config)))
    return Trained(network=trained, step=run.best_step, validated=tuple(run.validated))


def _held_back(data: TrainingData, config: TrainingConfig) -> Iterator[Batch]:
    """New scenes and cameras, to make the cube's standard errors honest."""
    for part in range(CALIBRATED):
        rng = np.random.default_rng([config.seed, part, 44])
        yield observe_batch(
            rng, data.draw_scenes(rng, 4, config.size + 2 * MAX_BAND_SHIFT), data.grid
        )


def _begun(
    data: TrainingData,
    out: Path,
    network: PGUNetConfig,
    config: TrainingConfig,
    init: Model | None,
    device: str,
) -> TrainState:
    """A run at its first step, or where its checkpoint stands."""
    settings = {
        **network.to_dict(),
        **asdict(config),
        "data": data.digest,
        "init": "" if init is None else init.sha256,
    }
    saved = read_checkpoint(out, settings)
    if saved is not None:
        model = PGUNet(network, *empty_prior(network, data.grid))
    elif init is not None:
        model = copy.deepcopy(init.network).train().requires_grad_(True)
    else:
        model = initial_network(data, network, config)
    model = model.to(device)
    run = TrainState(
        model=model,
        average=copy.deepcopy(model),
        optimiser=torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-4),
        settings=settings,
    )
    if saved is not None:
        run.restore(saved)
    return run


def _step(
    run: TrainState,
    drawn: Sequence[StepData],
    step: int,
    config: TrainingConfig,
    team: ProcessGroup,
) -> dict[str, float]:
    """One step of the optimiser on this process's shards; the figures of all of them."""
    run.optimiser.zero_grad(set_to_none=True)
    told = [_backward(run.model, part, step, config) for part in drawn]
    team.average_gradients(run.model, config.shards)
    norm = float(torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0))
    figures = _mean(team.gathered(told))
    if not math.isfinite(norm):
        figures["loss"] = math.nan
    if math.isfinite(figures["loss"]):
        run.optimiser.step()
    return figures


def _backward(
    model: PGUNet, drawn: StepData, step: int, config: TrainingConfig
) -> dict[str, float]:
    half, blind, batch = config.precision == "bf16", step % 2 == 0, drawn.batch
    place = [config.seed, step, drawn.shard, 43]
    start = Stf.from_prior(batch.family) if blind else _calibrated(batch, place)
    try:
        result = model(batch.msi, start, estimate_stf=blind, bfloat16=half)
        loss, figures = loss_of(model, batch, result)
        if drawn.bags is not None:
            extra, told = bag_loss(model, drawn.bags)
            loss, figures = loss + extra, {**figures, **told}
    except IncompleteRun:  # the STF is not finite: to the other processes, a loss like any other
        return {"loss": math.nan}
    loss.backward()
    return {"loss": float(loss.detach()), **figures}


def _calibrated(batch: Batch, place: Sequence[int]) -> Stf:
    """The truth, doubted by none to half of the prior's spread; the prior for a real camera."""
    if batch.theta is None or batch.rows is None:
        return Stf.from_prior(batch.family)
    rng = np.random.default_rng(place)
    count, device = len(batch.theta), batch.theta.device
    doubt = torch.from_numpy(0.5 * rng.random((count, 1, 1)).astype(np.float32)).to(device)
    error = torch.from_numpy(rng.standard_normal(batch.theta.shape, np.float32)).to(device)
    deviation = doubt * batch.family.spread
    believed = Stf.of(batch.family, batch.theta + deviation * error, deviation)
    moved = believed.rows - batch.family.rows(batch.theta)
    return Stf(
        family=batch.family,
        theta=believed.theta,
        theta_se=deviation,
        rows=batch.rows + moved,
    )


def _mean(told: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of every figure over the shards that have it."""
    keys = dict.fromkeys(key for figures in told for key in figures)
    found = {key: [figures[key] for figures in told if key in figures] for key in keys}
    return {key: sum(values) / len(values) for key, values in found.items()}


def _check(run: TrainState, figures: Mapping[str, float], step: int, out: Path) -> None:
    fact = ""
    if not math.isfinite(figures["loss"]):
        fact = f"the loss became {figures['loss']} at step {step}"
    elif run.exploded(figures):
        rise = f"from {run.least:.3g} to {run.level:.3g}"
        fact = f"the loss exploded: the relative RMSE rose {rise} by step {step}"
    if fact:
        raise IncompleteRun(
            fact,
            path=out,
            remedy="the last good checkpoint is kept; start anew elsewhere at a lower rate",
        )


@torch.no_grad()
def _average(average: PGUNet, model: PGUNet, decay: float) -> None:
    for target, source in zip(average.parameters(), model.parameters(), strict=True):
        target.lerp_(source, 1 - decay)


def _validate(
    run: TrainState, images: Sequence[ValidationImage], config: TrainingConfig, logs: RunLog
) -> None:
    """At its turn, and at the end: the errors of the averaged weights, which may be kept."""
    ends = run.step == config.steps
    turn = config.validate > 0 and (run.step % config.validate == 0 or ends)
    found = validate(run.average, images, half=config.precision == "bf16") if turn else []
    for each in found:
        figures = {key: value for key, value in asdict(each).items() if key != "image"}
        logs.validation(run.step - 1, each.image, figures)
    if found or ends:
        run.judge(found, last=config.keep == "last" or not found)


def _set_rate(optimiser: torch.optim.Optimizer, config: TrainingConfig, step: int) -> None:
    ramp = min(1.0, (step + 1) / config.warmup)
    fade = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * ramp * max(fade, 0.01)
