"""Ridge regression from the camera's bands to the cube's: the least that any method must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.data import PatchSampler
from uavssr.evaluation import LinearMap, ridge_maps
from uavssr.evaluation.baselines.map_choice import best_map
from uavssr.evaluation.baselines.method import FitSettings, Method
from uavssr.evaluation.baselines.pixelwise import FittedPixelMap
from uavssr.sensors import Float32Array

RIDGE_PENALTIES: Final = tuple((10.0 ** np.arange(-7, 2)).tolist())
"""Penalties to choose from, relative to the mean squared value of the bands."""


@dataclass(frozen=True, kw_only=True)
class RidgeMethod(Method):
    """Ridge regression, its penalty chosen by the error on pixels that were left out."""

    def fit(self, data: PatchSampler, settings: FitSettings) -> FittedPixelMap:
        """See `Method`."""
        return FittedPixelMap(best_map(_maps, data, settings.seed))


def _maps(values: Float32Array, spectra: Float32Array) -> list[LinearMap]:
    return ridge_maps(values, spectra, RIDGE_PENALTIES)


RIDGE = RidgeMethod(
    name="ridge",
    reference="linear regression with a constant and a penalty on its squared weights",
)
