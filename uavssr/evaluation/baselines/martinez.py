"""Transfer with few pairs: a network trained on many images is fine-tuned on a few known spectra.

After Martinez et al. 2020, who train on one sensor's many images and go on with few pairs of
another. Here a small network maps each pixel. It is trained on the training ground of a case, and
for each image that has known ground it goes on with that ground alone. From scratch, it has only
this ground. Written from the description.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from uavssr.calibration import Flight
from uavssr.data import Batch, PatchSampler
from uavssr.evaluation.baselines.method import (
    CameraImage,
    CurvePoint,
    FitSettings,
    FittedMethod,
    Method,
    Prediction,
    UseOfPairs,
)
from uavssr.evaluation.baselines.network_fit import cube_loss, fit_network
from uavssr.evaluation.baselines.network_method import band_counts

_WIDTH: Final = 64
"""Channels of the network."""
_RATE: Final = 2e-3
"""Largest learning rate; Adam as for all networks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """How a network goes on with known ground: all of it in each step of Adam."""

    steps: int
    rate: float
    """Learning rate, with a cosine down to zero."""


TRANSFERRED: Final = FineTuning(steps=100, rate=1e-3)
"""Of rates 2e-4, 5e-4 and 1e-3 the best for 3 and 10 pairs of the beet's development flights."""
FROM_SCRATCH: Final = FineTuning(steps=200, rate=3e-3)
"""Better than a rate of 1e-3 for 3 and 10 pairs of the same flights."""


class PixelNetwork(nn.Module):
    """A linear map of each pixel plus two hidden layers, from the camera's bands to the cube's."""

    def __init__(self, bands_in: int, bands_out: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(bands_in, bands_out, 1)
        self.hidden = nn.Sequential(
            nn.Conv2d(bands_in, _WIDTH, 1),
            nn.GELU(),
            nn.Conv2d(_WIDTH, _WIDTH, 1),
            nn.GELU(),
            nn.Conv2d(_WIDTH, bands_out, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """An image (B, c, y, x) in, a cube (B, C, y, x) out."""
        cube: Tensor = self.linear(image) + self.hidden(image)
        return cube


@dataclass(frozen=True, kw_only=True)
class TransferMethod(Method):
    """A pixel network, fine-tuned on the known ground of an image where it has some."""

    pairs: UseOfPairs = "possible"
    tuning: FineTuning = TRANSFERRED

    @property
    def is_trained(self) -> bool:  # type: ignore[override]
        """Whether it is trained before it sees an image: not from scratch."""
        return self.pairs != "needed"

    def fit(self, data: PatchSampler, settings: FitSettings) -> FittedTransfer:
        """See `Method`; from scratch, nothing but the weights' random start."""
        torch.manual_seed(settings.seed)
        network = PixelNetwork(*band_counts(data.family, data.grid))
        if not self.is_trained:
            return FittedTransfer(network, self.tuning)

        def predict(module: nn.Module, batch: Batch) -> Tensor:
            cube: Tensor = module(batch.msi)
            return cube

        def loss(module: nn.Module, batch: Batch, _step: int) -> Tensor:
            return cube_loss(predict(module, batch).flatten(2), batch.hsi.flatten(2))

        network, steps, curve = fit_network(
            network, data, settings, loss=loss, predict=predict, rate=_RATE
        )
        return FittedTransfer(network, self.tuning, steps=steps, curve=curve)


class FittedTransfer(FittedMethod):
    """A pixel network before it sees known ground."""

    network: PixelNetwork

    def __init__(
        self,
        network: PixelNetwork,
        tuning: FineTuning,
        *,
        steps: int = 0,
        curve: tuple[CurvePoint, ...] = (),
    ) -> None:
        self.network, self.steps, self.curve, self._tuning = network.eval(), steps, curve, tuning

    def predict(self, image: CameraImage) -> Prediction:
        """See `FittedMethod`; each image's known ground tunes a copy of the network."""
        network = self.network if image.known is None else self._tuned(image.known)
        with torch.inference_mode():
            msi = torch.from_numpy(np.ascontiguousarray(image.msi))
            return Prediction(cube=network(msi[None])[0].numpy())

    def _tuned(self, known: Flight) -> PixelNetwork:
        network = copy.deepcopy(self.network).train().requires_grad_(True)
        seen, truth = (
            torch.as_tensor(np.array(values.T, np.float32))[None]
            for values in (known.msi, known.spectra)
        )
        optimiser = torch.optim.Adam(network.parameters(), lr=self._tuning.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self._tuning.steps)
        for _ in range(self._tuning.steps):
            optimiser.zero_grad(set_to_none=True)
            cube_loss(network(seen[..., None]).flatten(2), truth).backward()
            optimiser.step()
            schedule.step()
        return network.eval()


_REFERENCE: Final = "after Martinez et al. 2020, few pairs for another sensor; a pixel network"
MARTINEZ = TransferMethod(name="martinez", reference=_REFERENCE)
MARTINEZ_SCRATCH = TransferMethod(
    name="martinez-scratch",
    reference=f"{_REFERENCE}; from scratch on the image's own pairs",
    pairs="needed",
    tuning=FROM_SCRATCH,
)
