"""Ridge regression from the camera's bands to the cube's: the least that any method must beat."""

from __future__ import annotations

from dataclasses import dataclass

from uavssr.data import PatchSampler
from uavssr.evaluation import regress
from uavssr.evaluation.baselines.method import FitSettings, Method
from uavssr.evaluation.baselines.pixelwise import TRAINING_PIXELS, FittedPixelMap


@dataclass(frozen=True, kw_only=True)
class RidgeMethod(Method):
    """Ridge regression, its penalty by the error on the last fifth of the pixels."""

    def fit(self, data: PatchSampler, settings: FitSettings) -> FittedPixelMap:
        """See `Method`."""
        values, spectra = data.pixels(settings.seed, TRAINING_PIXELS)
        return FittedPixelMap(regress(values[..., None, None], spectra[..., None, None]))


RIDGE = RidgeMethod(
    name="ridge",
    reference="linear regression with a constant and a penalty on its squared weights",
)
