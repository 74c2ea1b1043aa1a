"""The training loop of PGU-Net on simulated scenes, patches of cubes, and image-cube pairs.

The data of a step follow from (seed, step, shard) alone. So a run that is stopped and resumed from
its checkpoint gives the same weights as one that is not, on one process or several.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
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
from uavssr.training.loader import ShardData, load_steps
from uavssr.training.loss import bag_loss, image_loss
from uavssr.training.state import TrainState

CALIBRATION_BATCHES: Final = 12
"""Batches of four scenes to which the factor on the cube's standard errors is fitted."""

StepCallback = Callable[[int, dict[str, float]], None]
"""Called after each step with its number and the parts of the loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Where and how a training runs; nothing here changes the weights that result."""

    device: str = "cpu"
    """cpu or cuda[:i]."""
    workers: int = 0
    """Threads that draw the data of the next steps."""
    log: LogFormat = "csv"
    """csv (always written) or tensorboard beside it."""
    processes: ProcessGroup = field(default_factory=ProcessGroup)
    """The processes that share the shards of each step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """The result of a training."""

    network: PGUNet
    """The network with the averaged weights that were kept, on the CPU, in evaluation mode."""
    step: int
    """Number of steps after which these weights were reached."""
    errors: tuple[ImageErrors, ...]
    """Their errors on the validation images; empty without validation images."""


def train(
    data: TrainingData | SpectralLibrary,
    out: Path,
    *,
    start: Model | PGUNetConfig | None = None,
    config: TrainingConfig | None = None,
    images: Sequence[ValidationImage] = (),
    execution: Execution | None = None,
    progress: StepCallback | None = None,
) -> TrainingResult:
    """Train a network, or resume the training from `out`/checkpoint.pt.

    Args:
        data: training data, or a library to simulate from; their grid is that of the cube.
        out: folder of the checkpoints and the logs.
        start: a model on the same grid, whose weights, basis and mixture are the start, or the
            sizes of a new network; by default those of the released models.
        config: settings of the training.
        images: images to validate on.
        execution: device, threads, logs and processes.
        progress: called after each step.

    Raises:
        UsageError: the checkpoint was made with other settings.
        InputRefused: the checkpoint is damaged.
        OutputError: a checkpoint or log cannot be written.
        IncompleteRun: the loss became NaN or exploded; the last good checkpoint is kept.

    Examples:
        >>> import pathlib, uavssr
        >>> from uavssr.spectra import load_library
        >>> from uavssr.training import TrainingConfig
        >>> library = load_library("library.npz", HEADWALL_NANO)  # doctest: +SKIP
        >>> result = uavssr.train(library, pathlib.Path("run"))  # doctest: +SKIP
    """
    data = TrainingData.of(data) if isinstance(data, SpectralLibrary) else data
    config, execution = config or TrainingConfig(), execution or Execution()
    processes, device = execution.processes, torch.device(execution.device)
    out.mkdir(parents=True, exist_ok=True)
    state = _start_or_resume(data, out, start, config, device)
    processes.share_weights(state.model)
    processes.share_weights(state.average)
    steps = load_steps(
        data,
        state.average.basis,
        config,
        shards=processes.own_shards(config.shards),
        start=state.step,
        workers=execution.workers,
    )
    logs = None
    if processes.is_first:
        logs = RunLog(out, start=state.step, tensorboard=execution.log == "tensorboard")
    with closing(steps):
        for step, parts in enumerate(steps, state.step):
            _set_learning_rate(state.optimiser, config, step)
            shards = [part.to(device) for part in parts]
            figures = _step(state, shards, step, config, processes)
            _check_loss(state, figures, step, out)
            _update_average(state, min(config.average, (step + 1) / (step + 10)))
            state.step = step + 1
            if logs is not None:
                logs.step(step, blind=step % 2 == 0, figures=figures)
                _validate(state, images, config, logs)
            if progress is not None:
                progress(step, figures)
            last = state.step == config.steps
            if processes.is_first and (last or state.step % config.checkpoint == 0):
                write_checkpoint(out, state.content())
    if logs is not None:
        logs.close()
    if state.best_weights is not None:
        state.average.load_state_dict(state.best_weights)
    network = state.average.cpu().eval()
    network.sigma_scale.copy_(fit_sigma_scale(network, _calibration_batches(data, config)))
    return TrainingResult(network=network, step=state.best_step, errors=tuple(state.best_errors))


def initial_network(data: TrainingData, sizes: PGUNetConfig, config: TrainingConfig) -> PGUNet:
    """A network with fitted basis and prior and untrained proximal networks."""
    torch.manual_seed(config.seed)
    spectra = prior_spectra(data, config)
    basis = SpectralBasis.fit(spectra, data.grid, rank=sizes.rank)
    coefficients = basis.project(torch.as_tensor(spectra.T, dtype=torch.float32)).T
    mixture = fit_mixture(coefficients, components=sizes.components, seed=config.seed)
    return PGUNet(sizes, basis, mixture)


def prior_spectra(data: TrainingData, config: TrainingConfig) -> FloatArray:
    """Spectra (n, C) of all training data, reflectance, to which basis and mixture are fitted."""
    return data.draw_spectra(np.random.default_rng([config.seed, 2**32 - 1]), config.prior_scenes)


def _start_or_resume(
    data: TrainingData,
    out: Path,
    start: Model | PGUNetConfig | None,
    config: TrainingConfig,
    device: torch.device,
) -> TrainState:
    """The state of a run before its first step, or of its checkpoint."""
    init = start if isinstance(start, Model) else None
    sizes = start.network.config if isinstance(start, Model) else start
    sizes = sizes or PGUNetConfig(bands=len(data.grid))
    settings = {
        **sizes.to_dict(),
        **asdict(config),
        "data": data.digest,
        "init": "" if init is None else init.sha256,
    }
    content = read_checkpoint(out, settings)
    if content is not None:
        model = PGUNet(sizes, *empty_prior(sizes, data.grid))
    elif init is not None:
        model = copy.deepcopy(init.network).train().requires_grad_(True)
    else:
        model = initial_network(data, sizes, config)
    model = model.to(device)
    state = TrainState(
        model=model,
        average=copy.deepcopy(model),
        optimiser=torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-4),
        settings=settings,
    )
    if content is not None:
        state.restore(content)
    return state


def _calibration_batches(data: TrainingData, config: TrainingConfig) -> Iterator[Batch]:
    """New scenes seen by new cameras."""
    for part in range(CALIBRATION_BATCHES):
        rng = np.random.default_rng([config.seed, part, 44])
        scenes = data.draw_scenes(rng, 4, config.size + 2 * MAX_BAND_SHIFT)
        yield observe_batch(rng, scenes, data.grid)


def _step(
    state: TrainState,
    parts: Sequence[ShardData],
    step: int,
    config: TrainingConfig,
    processes: ProcessGroup,
) -> dict[str, float]:
    """Make one step with this process's shards; returns the mean of each figure over all shards."""
    state.optimiser.zero_grad(set_to_none=True)
    own = [_backward(state.model, part, step, config) for part in parts]
    processes.average_gradients(state.model, config.shards)
    norm = float(torch.nn.utils.clip_grad_norm_(state.model.parameters(), 1.0))
    shards = processes.gather(own)
    keys = dict.fromkeys(key for shard in shards for key in shard)
    values = {key: [shard[key] for shard in shards if key in shard] for key in keys}
    figures = {key: sum(numbers) / len(numbers) for key, numbers in values.items()}
    if not math.isfinite(norm):
        figures["loss"] = math.nan
    if math.isfinite(figures["loss"]):
        state.optimiser.step()
    return figures


def _backward(
    model: PGUNet, part: ShardData, step: int, config: TrainingConfig
) -> dict[str, float]:
    """Add the gradients of one shard; even steps estimate the STF, odd steps are given it."""
    half, blind, batch = config.precision == "bf16", step % 2 == 0, part.batch
    seed = [config.seed, step, part.shard, 43]
    start = Stf.from_prior(batch.family) if blind else perturbed_stf(batch, seed)
    try:
        result = model(batch.msi, start, estimate_stf=blind, bfloat16=half)
        loss, figures = image_loss(model, batch, result)
        if part.bags is not None:
            stf_part, stf_figures = bag_loss(model, part.bags)
            loss, figures = loss + stf_part, {**figures, **stf_figures}
    except IncompleteRun:  # the STF is not finite; other processes must hear of it as of any loss
        return {"loss": math.nan}
    loss.backward()
    return {"loss": float(loss.detach()), **figures}


def perturbed_stf(batch: Batch, seed: Sequence[int]) -> Stf:
    """The true STF with an error of 0 to half the prior's spread; the prior for a real camera.

    theta = theta_true + s e with s = u spread, u uniform in 0..0.5 per camera, e standard normal;
    rows = R_true + R(theta) - R(theta_true), which keeps the true shape of the filters.
    """
    if batch.theta is None or batch.rows is None:
        return Stf.from_prior(batch.family)
    rng = np.random.default_rng(seed)
    device = batch.theta.device
    share = 0.5 * rng.random((len(batch.theta), 1, 1)).astype(np.float32)
    error = torch.from_numpy(rng.standard_normal(batch.theta.shape, np.float32)).to(device)
    standard_error = torch.from_numpy(share).to(device) * batch.family.spread
    stf = Stf.of(batch.family, batch.theta + standard_error * error, standard_error)
    return replace(stf, rows=batch.rows + (stf.rows - batch.family.rows(batch.theta)))


def _check_loss(state: TrainState, figures: Mapping[str, float], step: int, out: Path) -> None:
    if not math.isfinite(figures["loss"]):
        fact = f"the loss became {figures['loss']} at step {step}"
    elif state.has_exploded(figures):
        rise = f"from {state.least_rmse:.3g} to {state.mean_rmse:.3g}"
        fact = f"the loss exploded: the relative RMSE rose {rise} by step {step}"
    else:
        return
    remedy = "the last good checkpoint is kept; train in another folder at a lower rate"
    raise IncompleteRun(fact, path=out, remedy=remedy)


@torch.no_grad()
def _update_average(state: TrainState, decay: float) -> None:
    """Update the moving average: average = decay average + (1 - decay) weights."""
    for average, weight in zip(state.average.parameters(), state.model.parameters(), strict=True):
        average.lerp_(weight, 1 - decay)


def _validate(
    state: TrainState, images: Sequence[ValidationImage], config: TrainingConfig, logs: RunLog
) -> None:
    """Validate the averaged weights every so often and at the end; keep them if they are better."""
    last = state.step == config.steps
    due = config.validate > 0 and (last or state.step % config.validate == 0)
    errors = validate(state.average, images, half=config.precision == "bf16") if due else []
    for image in errors:
        figures = asdict(image)
        logs.validation(state.step - 1, figures.pop("image"), figures)
    if errors or last:
        state.keep_if_better(errors, always=config.keep == "last" or not errors)


def _set_learning_rate(optimiser: torch.optim.Optimizer, config: TrainingConfig, step: int) -> None:
    """Linear warm-up, then half a cosine down to a hundredth of the peak rate."""
    warmup = min(1.0, (step + 1) / config.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * warmup * max(cosine, 0.01)
