"""A network from a camera's bands to a cube's as a method: built, trained, applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from uavssr.data import Batch, PatchSampler
from uavssr.evaluation.baselines.method import (
    CameraImage,
    CurvePoint,
    FitSettings,
    FittedMethod,
    Method,
    Prediction,
)
from uavssr.evaluation.baselines.network_fit import cube_loss, fit_network
from uavssr.model import ResponseFamily
from uavssr.sensors import WavelengthGrid

Builder = Callable[[ResponseFamily, WavelengthGrid], nn.Module]
"""Makes a network for the data sheet of a camera (S = 1) and the bands of a cube."""
UNIFORM_SIDE: Final = 16
"""Side in pixels of the uniform ground that stands for a plot."""
_GROUND_AT_ONCE: Final = 32


@dataclass(frozen=True, kw_only=True)
class NetworkMethod(Method):
    """A network that is trained for one camera; with knowledge of the response, it is given R."""

    build: Builder = field(repr=False)
    is_trained: ClassVar[bool] = True

    def fit(self, data: PatchSampler, settings: FitSettings) -> FittedNetwork:
        """See `Method`; the loss is the same for all networks (`cube_loss`)."""
        torch.manual_seed(settings.seed)
        given = self.knows == "true response"

        def predict(network: nn.Module, batch: Batch) -> Tensor:
            cube: Tensor = network(batch.msi, batch.rows) if given else network(batch.msi)
            return cube

        def loss(network: nn.Module, batch: Batch, _step: int) -> Tensor:
            return cube_loss(predict(network, batch).flatten(2), batch.hsi.flatten(2))

        network, steps, curve = fit_network(
            self.build(data.family, data.grid), data, settings, loss=loss, predict=predict
        )
        return FittedNetwork(network, steps=steps, curve=curve, given=given)


class FittedNetwork(FittedMethod):
    """A trained network of one camera."""

    network: nn.Module

    def __init__(
        self, network: nn.Module, *, steps: int, curve: tuple[CurvePoint, ...], given: bool
    ) -> None:
        self.network, self.steps, self.curve, self._given = network.eval(), steps, curve, given

    @torch.inference_mode()
    def predict(self, image: CameraImage) -> Prediction:
        """See `FittedMethod`; a network that is given R needs `image.rows`."""
        rows = []
        if self._given:
            if image.rows is None:
                raise ValueError("this network is given the camera's response, which is not known")
            rows = [torch.from_numpy(np.ascontiguousarray(image.rows))[None]]
        msi = torch.from_numpy(np.ascontiguousarray(image.msi))
        if not image.apart:
            return Prediction(cube=self.network(msi[None], *rows)[0].numpy())
        # each pixel as the middle of uniform ground
        ground = msi.flatten(1).T[:, :, None, None].expand(-1, -1, UNIFORM_SIDE, UNIFORM_SIDE)
        middle = UNIFORM_SIDE // 2
        spectra = [
            self.network(part, *(given.expand(len(part), -1, -1) for given in rows))
            for part in ground.split(_GROUND_AT_ONCE)
        ]
        cube = torch.cat([part[:, :, middle, middle] for part in spectra]).T
        return Prediction(cube=cube.unflatten(1, msi.shape[1:]).numpy())


def band_counts(family: ResponseFamily, grid: WavelengthGrid) -> tuple[int, int]:
    """The numbers of bands of a camera and of a cube."""
    return int(family.centre.shape[1]), len(grid)
