"""Train PGU-Net on simulated scenes seen by random cameras.

Every step draws its scenes and cameras from (seed, step) alone, so a run that is stopped and
resumed from its checkpoint goes on as if it had never stopped.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr import __version__
from uavssr.checkpoints import append_log, read_checkpoint, start_log, write_checkpoint
from uavssr.data.cameras import BAND_COUNTS, draw_cameras, observe, random_sensors
from uavssr.data.library import SpectralLibrary
from uavssr.data.scenes import simulate_batch
from uavssr.errors import IncompleteRun, UsageError
from uavssr.model.basis import SpectralBasis
from uavssr.model.mixture import fit_mixture
from uavssr.model.pgunet import PGUNet, PGUNetConfig
from uavssr.model.response import ResponseFamily
from uavssr.model.state import Reconstruction, Stf
from uavssr.model.weights import blank, save_model

MARGIN: Final = 2  # pixels that wrap around when `observe` shifts bands
SUPERVISED: Final = 5  # every fifth pixel is compared in all bands: neighbours say much the same
MISREGISTERED: Final = 0.3  # share of scenes whose bands are shifted, by up to 0.3 pixels (1 sigma)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Settings of a run; they are written into config.json of the model."""

    steps: int = 3000
    """Optimiser steps in all."""
    batch: int = 12
    """Scenes per step, each with a camera of its own."""
    size: int = 32
    """Side of a scene in pixels."""
    learning_rate: float = 2e-3
    """Peak rate of AdamW; linear warm-up, then cosine to a hundredth."""
    warmup: int = 100
    """Steps of warm-up."""
    average: float = 0.998
    """Decay of the moving average of the weights, which is what is saved."""
    seed: int = 0
    """Of everything random."""
    prior_scenes: int = 400
    """Simulated scenes from which the basis and the mixture are fitted."""
    checkpoint: int = 200
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        for key in ("steps", "batch", "size", "warmup", "checkpoint", "prior_scenes"):
            if getattr(self, key) < 1:
                raise UsageError(f"{key} must be positive, got {getattr(self, key)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One training step's data."""

    msi: Tensor
    """(B, c, H, W) what the cameras see."""
    hsi: Tensor
    """(B, C, H, W) the truth."""
    family: ResponseFamily
    """Nominal curves and the spread that the model is told."""
    theta: Tensor
    """(B, c, 3) true parameters."""
    rows: Tensor
    """(B, c, C) true STF."""


def initial_network(
    library: SpectralLibrary, network: PGUNetConfig, config: TrainingConfig
) -> PGUNet:
    """A network whose basis and prior are fitted and whose proximal networks are untrained."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng([config.seed, 2**32 - 1])
    scenes = simulate_batch(library, rng, config.prior_scenes, 16)
    spectra = scenes.transpose(0, 2, 3, 1).reshape(-1, scenes.shape[1]).astype(np.float64)
    basis = SpectralBasis.fit(spectra, library.grid, rank=network.rank)
    coefficients = basis.project(torch.as_tensor(spectra.T, dtype=torch.float32)).T
    mixture = fit_mixture(coefficients, components=network.components, seed=config.seed)
    return PGUNet(network, basis, mixture)


def draw_batch(library: SpectralLibrary, config: TrainingConfig, step: int) -> Batch:
    """The data of one step, a function of the seed and the step's number."""
    rng = np.random.default_rng([config.seed, step])
    scenes = simulate_batch(library, rng, config.batch, config.size + 2 * MARGIN)
    bands = int(rng.choice(BAND_COUNTS))
    knowledge = np.where(rng.random(config.batch) < 0.5, 1.0, rng.random(config.batch))
    cameras = draw_cameras(
        rng, random_sensors(rng, config.batch, bands), library.grid, knowledge=knowledge
    )
    shifted = np.where(rng.random(config.batch) < MISREGISTERED, rng.random(config.batch), 0.0)
    images = observe(rng, scenes, cameras.rows, misregistration=0.3 * shifted)
    inner = (slice(None), slice(None), slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    family = ResponseFamily.stack(
        curves=cameras.curves,
        centre=cameras.centre,
        fwhm=cameras.fwhm,
        grid=library.grid,
        knowledge=cameras.knowledge,
    )
    return Batch(
        msi=torch.from_numpy(np.ascontiguousarray(images[inner])),
        hsi=torch.from_numpy(np.ascontiguousarray(scenes[inner])),
        family=family,
        theta=torch.from_numpy(cameras.theta),
        rows=torch.from_numpy(cameras.rows),
    )


def loss_of(
    network: PGUNet, batch: Batch, result: Reconstruction
) -> tuple[Tensor, dict[str, float]]:
    """The training loss and its parts.

    On the cube: relative L1 and RMSE per scene and the spectral angle, every stage, the last most.
    On the STF: Gaussian likelihood of the parameters, so that the standard errors are honest, and
    relative L1 of the rows. And the misfit of the image.
    """
    truth = batch.hsi.flatten(2)[..., ::SUPERVISED]
    level = truth.mean((1, 2))
    parts: dict[str, Tensor] = {}
    stages = result.stage_coefficients[1:]
    weights = [0.3 * (k + 1) / len(stages) for k in range(len(stages))]
    cube = torch.zeros(())
    for weight, coefficients in zip([*weights, 1.0], [*stages, result.coefficients], strict=True):
        sample = coefficients.flatten(2)[..., None, ::SUPERVISED]
        estimate = network.basis.expand(sample).squeeze(-2)
        error = estimate - truth
        absolute = error.abs().mean((1, 2)) / level
        squared = error.square().mean((1, 2)).sqrt() / level
        cosine = torch.cosine_similarity(estimate, truth, dim=1).clamp(-1, 1 - 1e-6)
        angle = torch.acos(cosine).mean(1)
        parts["rmse"], parts["sam"] = squared.mean(), angle.mean()
        cube = cube + weight * (0.5 * absolute + 0.5 * squared + 0.5 * angle).mean()
    flat = result.coefficients.flatten(2)
    seen = result.stf.rows @ network.basis.extended
    misfit = batch.msi.flatten(2) - seen[..., :-1] @ flat - seen[..., -1:]
    parts["misfit"] = (misfit.abs().mean((1, 2)) / batch.msi.mean((1, 2, 3))).mean()
    total = cube + 0.1 * parts["misfit"]
    blind = result.statistics is not None
    if blind:
        likelihood = torch.zeros(())
        for stf in result.stage_stf[1:]:
            prior = stf.family.spread.clamp_min(1e-3)
            deviation = stf.deviation.clamp_min(1e-4)
            score = ((stf.theta - batch.theta) / deviation).square()
            likelihood = likelihood + (0.5 * score + (deviation / prior).log()).mean()
        parts["nll"] = likelihood / (len(result.stage_stf) - 1)
        difference = (result.stf.rows - batch.rows).abs().sum(-1)
        parts["stf"] = (difference / batch.rows.sum(-1)).mean()
        total = total + 0.2 * parts["nll"] + 0.2 * parts["stf"]
    prefix = "blind_" if blind else "known_"
    return total, {prefix + key: float(value.detach()) for key, value in parts.items()}


def train(
    library: SpectralLibrary,
    out: Path,
    *,
    network: PGUNetConfig | None = None,
    config: TrainingConfig | None = None,
    device: str = "cpu",
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> PGUNet:
    """Train, or go on training from `out`/checkpoint.pt; returns the averaged network on the CPU.

    Args:
        library: spectra from which scenes are simulated; its grid is the cube's.
        out: folder of the checkpoint and the log (`log.csv`).
        network: sizes; by default those of the released models with the library's grid.
        config: settings of the run.
        device: where to train.
        progress: called after every step with its number and the parts of the loss.

    Raises:
        IncompleteRun: the loss became NaN; the last good checkpoint is kept.
    """
    network = network or PGUNetConfig(bands=len(library.grid))
    config = config or TrainingConfig()
    out.mkdir(parents=True, exist_ok=True)
    settings = _settings(library, network, config)
    saved = read_checkpoint(out, settings)
    if saved is None:
        model = initial_network(library, network, config)
    else:
        model = PGUNet(network, *blank(network, library.grid))
        model.load_state_dict(saved["model"])
    average = copy.deepcopy(model)
    if saved is not None:
        average.load_state_dict(saved["average"])
    model, average = model.to(device), average.to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-4)
    if saved is not None:
        optimiser.load_state_dict(saved["optimiser"])
    start = 0 if saved is None else int(saved["step"])
    start_log(out, start)
    for step in range(start, config.steps):
        _set_rate(optimiser, config, step)
        figures = _step(model, optimiser, _on(draw_batch(library, config, step), device), step)
        if not math.isfinite(figures["loss"]):
            raise IncompleteRun(
                f"the loss became {figures['loss']} at step {step}",
                path=out,
                remedy="the last good checkpoint is kept; start anew elsewhere at a lower rate",
            )
        decay = min(config.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for target, source in zip(average.parameters(), model.parameters(), strict=True):
                target.lerp_(source, 1 - decay)
        append_log(out, step, blind=step % 2 == 0, figures=figures)
        if progress is not None:
            progress(step, figures)
        if (step + 1) % config.checkpoint == 0 or step + 1 == config.steps:
            content: dict[str, object] = {
                "step": step + 1,
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
                "settings": settings,
            }
            write_checkpoint(out, content)
    return average.cpu().eval()


def train_model(
    library: SpectralLibrary,
    out: Path,
    *,
    name: str,
    network: PGUNetConfig,
    config: TrainingConfig,
    device: str = "cpu",
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> Path:
    """Train (see `train`) and write the model folder `out`/`name` with its card; returns it."""
    trained = train(library, out, network=network, config=config, device=device, progress=progress)
    facts: dict[str, object] = {
        **asdict(config),
        "uavssr_version": __version__,
        "torch_version": torch.__version__,
        "spectra": len(library),
        "kinds": library.counts(),
        "sources": sorted(set(library.source.tolist())),
    }
    folder = out / name
    digest = save_model(trained, folder, name=name, training=facts)
    card = _card(name, digest, network, facts)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


def _card(name: str, digest: str, network: PGUNetConfig, facts: dict[str, object]) -> str:
    sizes = ", ".join(f"{key} {value}" for key, value in asdict(network).items())
    rows = "\n".join(f"| {key} | {value} |" for key, value in facts.items())
    return (
        f"# {name}\n\nPGU-Net weights, trained on simulated scenes seen by random cameras.\n\n"
        f"* network: {sizes}\n* SHA-256 of model.safetensors: `{digest}`\n\n"
        f"| training | |\n|---|---|\n{rows}\n"
    )


def _step(
    model: PGUNet, optimiser: torch.optim.Optimizer, batch: Batch, step: int
) -> dict[str, float]:
    result = model(batch.msi, Stf.expected(batch.family), blind=step % 2 == 0)
    loss, figures = loss_of(model, batch, result)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
    value = float(loss.detach()) if math.isfinite(norm) else math.nan
    if math.isfinite(value):
        optimiser.step()
    return {"loss": value, **figures}


def _on(batch: Batch, device: str) -> Batch:
    return Batch(
        msi=batch.msi.to(device),
        hsi=batch.hsi.to(device),
        family=batch.family.to(torch.device(device)),
        theta=batch.theta.to(device),
        rows=batch.rows.to(device),
    )


def _set_rate(optimiser: torch.optim.Optimizer, config: TrainingConfig, step: int) -> None:
    ramp = min(1.0, (step + 1) / config.warmup)
    fade = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * ramp * max(fade, 0.01)


def _settings(
    library: SpectralLibrary, network: PGUNetConfig, config: TrainingConfig
) -> dict[str, object]:
    digest = hashlib.sha256(library.spectra.tobytes()).hexdigest()
    return {**asdict(network), **asdict(config), "library": digest}
