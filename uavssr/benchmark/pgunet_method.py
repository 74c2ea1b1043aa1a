"""PGU-Net as a method of the benchmark: its prior is fitted, its stages are trained."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from uavssr.data import Batch, PatchSampler, SpectraBagBatch
from uavssr.evaluation.baselines import (
    CameraImage,
    CurvePoint,
    FitSettings,
    FittedMethod,
    Method,
    Prediction,
    cube_loss,
    fit_network,
)
from uavssr.model import (
    PGUNet,
    PGUNetConfig,
    Reconstruction,
    SpectralBasis,
    Stf,
    choose_rank,
    fit_mixture,
)
from uavssr.sensors import FloatArray
from uavssr.training import bag_loss, image_loss, perturbed_stf

PRIOR_PIXELS: Final = 20000
"""Spectra to which basis and mixture are fitted."""
_BRIGHTNESS_STREAM: Final = 83
BAGS: Final = 8
"""Bags of spectra per step that train the STF's stages."""
BAG_SIDE: Final = 16
"""Side in pixels of the patches that are bags of spectra."""
SUBSPACE_FLOOR: Final = 1e-3
"""Variance added to each coefficient of the prior, in units of its variance."""
FULL_BAND_FLOOR: Final = 1e-5
"""The same for spectra themselves: (0.003)^2 of reflectance."""
PGUNET_RATE: Final = 2e-3
"""Largest learning rate, that of the released models."""


@dataclass(frozen=True, kw_only=True)
class PgunetMethod(Method):
    """PGU-Net in the subspace of the training spectra, or in full band as the paper has it."""

    sizes: PGUNetConfig = field(repr=False)
    """Its bands are those of the data, its rank the largest that is chosen."""
    full_band: bool = False
    brightness: float = 0.3
    """Standard deviation of the logarithm of a brightness that spectra of the prior differ by.

    Held-out ground is brighter or darker than that of training (docs/design.md).
    """
    rate: float = PGUNET_RATE
    is_trained: ClassVar[bool] = True

    def fit(self, data: PatchSampler, settings: FitSettings) -> FittedPgunet:
        """See `Method`; the fit of the prior is a part of the budget of time."""
        torch.manual_seed(settings.seed)
        started = time.process_time()
        initial = self.initial_network(data, settings.seed)
        left = settings.seconds - (time.process_time() - started)

        def loss(network: nn.Module, batch: Batch, step: int) -> Tensor:
            return _loss(network, data, batch, [settings.seed, step])

        network, steps, curve = fit_network(
            initial,
            data,
            replace(settings, seconds=left),
            loss=loss,
            predict=_validation_cubes,
            rate=self.rate,
        )
        stages = best_stages(network, data.validation())
        return FittedPgunet(network, steps=steps, curve=curve, stages=stages)

    def initial_network(self, data: PatchSampler, seed: int) -> PGUNet:
        """The network with fitted prior and untrained stages."""
        spectra, bands = self._prior_spectra(data, seed), len(data.grid)
        if self.full_band:
            basis, rank, floor = SpectralBasis.identity(data.grid), bands, FULL_BAND_FLOOR
        else:
            rank, floor = choose_rank(spectra, max_rank=self.sizes.rank), SUBSPACE_FLOOR
            basis = SpectralBasis.fit(spectra, data.grid, rank=rank)
        coefficients = basis.project(torch.as_tensor(spectra.T, dtype=torch.float32)).T
        count = self.sizes.components
        mixture = fit_mixture(coefficients, components=count, floor=floor, seed=seed)
        return PGUNet(replace(self.sizes, bands=bands, rank=rank), basis, mixture)

    def _prior_spectra(self, data: PatchSampler, seed: int) -> FloatArray:
        """Training spectra (n, C), each times a brightness of its own."""
        spectra = data.pixels(seed, PRIOR_PIXELS)[1].astype(float)
        rng = np.random.default_rng([seed, _BRIGHTNESS_STREAM])
        spectra *= np.exp(self.brightness * rng.normal(size=(len(spectra), 1)))
        return spectra


def _loss(network: nn.Module, data: PatchSampler, batch: Batch, seed: list[int]) -> Tensor:
    """Even steps estimate the STF, odd steps are given it with an error; bags train the STF."""
    pgunet = _pgunet(network)
    blind = seed[-1] % 2 == 0
    start = Stf.from_prior(batch.family) if blind else perturbed_stf(batch, seed)
    loss, _ = image_loss(pgunet, batch, pgunet(batch.msi, start, estimate_stf=blind))
    drawn = data.draw([*seed, 1], BAGS, size=BAG_SIDE)
    if drawn.theta is None or drawn.rows is None:
        return loss
    bags = SpectraBagBatch(
        msi=drawn.msi.flatten(2), family=drawn.family, theta=drawn.theta, rows=drawn.rows
    )
    return loss + bag_loss(pgunet, bags)[0]


@torch.no_grad()
def best_stages(network: PGUNet, checks: Batch) -> int:
    """The number of the cube's stages with the least loss on validation patches.

    Where the ground is dark, short trainings do not reach the mixture that the stages start from.
    """
    start = Stf.from_prior(checks.family)
    result = network(checks.msi, start, estimate_stf=True)
    losses = [
        float(cube_loss(_cubes(network, result, count).flatten(2), checks.hsi.flatten(2)))
        for count in range(len(network.stages) + 1)
    ]
    return int(np.argmin(losses))


def _cubes(network: PGUNet, result: Reconstruction, stages: int) -> Tensor:
    """Cubes (B, C, H, W) after some of the stages; the last X-step follows the last of them."""
    last = stages == len(network.stages)
    coefficients = result.coefficients if last else result.stage_coefficients[stages]
    return network.basis.expand(coefficients)


def _validation_cubes(network: nn.Module, batch: Batch) -> Tensor:
    pgunet = _pgunet(network)
    result = pgunet(batch.msi, Stf.from_prior(batch.family), estimate_stf=True)
    return pgunet.basis.expand(result.coefficients)


def _pgunet(network: nn.Module) -> PGUNet:
    if not isinstance(network, PGUNet):
        raise TypeError(f"a PGU-Net is needed, got {type(network).__name__}")
    return network


class FittedPgunet(FittedMethod):
    """A trained PGU-Net."""

    network: PGUNet

    def __init__(
        self,
        network: PGUNet,
        *,
        steps: int = 0,
        curve: tuple[CurvePoint, ...] = (),
        given: bool = False,
        stages: int,
    ) -> None:
        self.network, self.steps, self.curve = network, steps, curve
        self._given, self._stages = given, stages

    @property
    def variants(self) -> dict[str, FittedMethod]:
        """The same weights with the true response, and without the cube's stages."""
        every = len(self.network.stages)
        return {
            "true response": self._used(self._stages, given=True),
            "no stages": self._used(0),
            "all stages": self._used(every),
        }

    def _used(self, stages: int, *, given: bool = False) -> FittedPgunet:
        network, steps, curve = self.network, self.steps, self.curve
        return FittedPgunet(network, steps=steps, curve=curve, given=given, stages=stages)

    @torch.inference_mode()
    def predict(self, image: CameraImage) -> Prediction:
        """See `FittedMethod`."""
        msi = torch.from_numpy(np.ascontiguousarray(image.msi))[None]
        stf = Stf.from_prior(image.family)
        if self._given:
            stf = _known_stf(image)
        result = self.network(msi, stf, estimate_stf=not self._given, stages=self._stages)
        cube = _cubes(self.network, result, self._stages)[0].numpy()
        return Prediction(cube=cube, rows=None if self._given else result.stf.rows[0].numpy())


def _known_stf(image: CameraImage) -> Stf:
    """The true response without an error."""
    if image.rows is None:
        raise ValueError("the true response of this camera is not known")
    rows = torch.from_numpy(np.ascontiguousarray(image.rows))[None]
    known = torch.zeros_like(image.family.spread)
    return Stf.of(image.family, image.family.prior, known, rows=rows)


PGUNET: Final = PgunetMethod(
    name="pgunet",
    sizes=PGUNetConfig(rank=24, components=32, stages=2, prior_variance="pixel"),
    reference="this package's; rank 24 at most, 32 Gaussians, two stages, variances by pixel",
)
PGUNET_FULL_BAND: Final = PgunetMethod(
    name="pgunet-full-band",
    sizes=PGUNetConfig(components=1, stages=4, stf="free"),
    full_band=True,
    reference="arXiv 2606.05759: no subspace, a free STF, one Gaussian as the start",
)
