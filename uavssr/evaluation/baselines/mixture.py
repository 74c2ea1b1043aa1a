"""Posterior mean under a Gaussian mixture prior of spectra and a known response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from uavssr.data import PatchSampler
from uavssr.evaluation.baselines.method import (
    CameraImage,
    FitSettings,
    FittedMethod,
    Method,
    Prediction,
)
from uavssr.evaluation.baselines.pixelwise import (
    TRAINING_PIXELS,
    data_sheet_rows,
    expected_noise,
    map_pixels,
)
from uavssr.model import SpectralBasis, SpectralMixture, choose_rank, fit_mixture
from uavssr.sensors import Float32Array

_COMPONENTS: Final = 32
"""Gaussians, as many as the released network has."""
_SPECTRA_PER_COMPONENT: Final = 50
_MAX_RANK: Final = 16
_ITERATIONS: Final = 30
"""Steps of expectation maximisation."""


@dataclass(frozen=True, kw_only=True)
class MixtureMethod(Method):
    """Gaussians in a subspace of spectra, and R of the data sheet."""

    components: int = _COMPONENTS
    """Most Gaussians; fewer where there are few spectra."""

    def fit(self, data: PatchSampler, settings: FitSettings) -> FittedMixture:
        """See `Method`; of the training pixels only the spectra are used."""
        _, spectra = data.pixels(settings.seed, TRAINING_PIXELS)
        values = spectra.astype(float)
        basis = SpectralBasis.fit(values, data.grid, rank=choose_rank(values, max_rank=_MAX_RANK))
        mixture = fit_mixture(
            basis.project(torch.from_numpy(spectra.T)).T,
            components=max(1, min(self.components, len(spectra) // _SPECTRA_PER_COMPONENT)),
            iterations=_ITERATIONS,
            seed=settings.seed,
        )
        return FittedMixture(basis, mixture)


class FittedMixture(FittedMethod):
    """A mixture prior of spectra; the camera's data sheet comes with the image."""

    def __init__(self, basis: SpectralBasis, mixture: SpectralMixture) -> None:
        self.basis, self.mixture = basis, mixture
        moments = torch.einsum("k,kij->ij", mixture.weight, mixture.second_moments())
        self._second_moment = (basis.extended @ moments @ basis.extended.T).double().numpy()

    def predict(self, image: CameraImage) -> Prediction:
        """See `FittedMethod`."""
        rows = data_sheet_rows(image.family)
        noise = torch.from_numpy(expected_noise(self._second_moment, rows))
        projected = torch.from_numpy(rows) @ self.basis.extended.double()  # [B, b]

        def spectra(values: Float32Array) -> Float32Array:
            coefficients, _ = self.mixture.posterior(
                torch.from_numpy(np.ascontiguousarray(values))[None],
                projected[None, :, :-1],
                projected[None, :, -1],
                noise.expand(1, len(self.mixture.weight), -1),
            )
            return self.basis.expand(coefficients[..., None])[0, ..., 0].numpy()

        return Prediction(cube=map_pixels(spectra, image.msi))


MIXTURE = MixtureMethod(
    name="mixture",
    knows="data sheet",
    reference="posterior mean under a Gaussian mixture, noise of 35 dB",
)
