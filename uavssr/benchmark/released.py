"""A released PGU-Net as a compared method: blind, and with what is known of its camera and ground.

Nothing is trained. A profile and a local prior come from flights whose spectra are known, and
known ground of the image itself calibrates the camera and corrects the cube.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.calibration import Flight, calibrate, fit_camera, on_grid
from uavssr.data import PatchSampler, PlotPairs
from uavssr.errors import UsageError
from uavssr.evaluation.baselines import (
    CameraImage,
    CameraKnowledge,
    FitSettings,
    FittedMethod,
    Method,
    Prediction,
    UseOfPairs,
)
from uavssr.model import (
    DEFAULT_MODEL,
    Correction,
    PGUNet,
    ResponseFamily,
    SpectralBasis,
    Stf,
    add_local_prior,
    find_materials,
    load_model,
)
from uavssr.sensors import Float32Array, FloatArray, WavelengthGrid


@dataclass(frozen=True, kw_only=True)
class ReleasedMethod(Method):
    """A released model, which may be given a profile of the camera and spectra of other flights."""

    model: str = DEFAULT_MODEL
    profile: bool = False
    """Whether a profile of the camera is fitted to the known flights."""
    adapt: bool = False
    """Whether the spectra of the known flights join the prior."""
    knows: CameraKnowledge = "data sheet"
    pairs: UseOfPairs = "possible"

    def fit(self, data: PatchSampler, settings: FitSettings) -> FittedReleased:  # noqa: ARG002
        """See `Method`.

        Raises:
            UsageError: profile or spectra are asked for, and `data` holds no known flights.
        """
        network, family = load_model(self.model).network, None
        if self.profile or self.adapt:
            if not isinstance(data, PlotPairs):
                raise UsageError(
                    f"{self.name} needs flights with known spectra",
                    remedy="leave it out of --methods, or choose the protocol pairs",
                )
            flights = tuple(_on_network(data, network.basis))
            if self.profile:
                fit = fit_camera(data.sensor, flights, network.grid, name="profile")
                family = ResponseFamily.of(fit.sensor, network.grid)
            if self.adapt:
                spectra = np.concatenate([flight.spectra for flight in flights])
                network = add_local_prior(network, _tensor(spectra))
        return FittedReleased(network, family, data.grid)


class FittedReleased(FittedMethod):
    """A released network with its prior of the camera."""

    network: PGUNet

    def __init__(
        self, network: PGUNet, family: ResponseFamily | None, grid: WavelengthGrid
    ) -> None:
        self.network, self._family, self._grid = network, family, grid

    @torch.no_grad()
    def predict(self, image: CameraImage) -> Prediction:
        """See `FittedMethod`; the cube is interpolated to the wavelengths of the case.

        The STF is left out where these are not the model's own.
        """
        network = self.network
        interpolation = _tensor(network.grid.interpolation())
        family = self._family or replace(image.family, interpolation=interpolation)
        msi = torch.from_numpy(np.ascontiguousarray(image.msi, np.float32))[None]
        if image.known is None:
            materials = find_materials(msi.flatten(2), None, pooled=True)
            stf, correction = network.estimate_stf(materials, Stf.from_prior(family))[-1], None
        else:
            stf, correction = _calibrated(network, family, image.known, self._grid)
        coefficients = self._coefficients(msi, stf, correction, apart=image.apart)
        basis = network.basis if correction is None else correction.basis
        uncertainty = network.cube_uncertainty(stf, correction)
        sigma = uncertainty.expand(uncertainty.maps(msi, coefficients))
        same = self._grid.matches(network.grid)
        return Prediction(
            cube=self._at_wavelengths(basis.expand(coefficients)),
            rows=stf.rows[0].numpy() if same else None,
            sigma=self._at_wavelengths(sigma),
        )

    def _coefficients(
        self, msi: Tensor, stf: Stf, correction: Correction | None, *, apart: bool
    ) -> Tensor:
        """(1, r, y, x) of an image (1, c, y, x)."""
        if not apart:
            result = self.network(msi, stf, estimate_stf=False, correction=correction)
            return result.coefficients
        ground = self.network.reconstruct_ground(msi[0].flatten(1).T, stf, correction=correction)
        return ground.T.unflatten(1, msi.shape[2:])[None]

    def _at_wavelengths(self, cube: Tensor) -> Float32Array:
        """A cube (1, C, y, x) of the network, interpolated to the case's wavelengths."""
        own = self.network.grid.centres
        matrix = np.stack([np.interp(self._grid.centres, own, row) for row in np.eye(len(own))])
        values = np.tensordot(matrix.T, cube[0].double().numpy(), 1)
        return np.ascontiguousarray(values, np.float32)


def _calibrated(
    network: PGUNet, family: ResponseFamily, known: Flight, grid: WavelengthGrid
) -> tuple[Stf, Correction]:
    spectra = on_grid(known.spectra, grid.centres, network.basis).astype(float)
    stf = calibrate(family, spectra, known.msi, basis=network.basis).stf
    return stf, network.fit_correction(stf, _tensor(known.msi), _tensor(spectra))


def _on_network(data: PlotPairs, basis: SpectralBasis) -> Iterator[Flight]:
    """The flights with spectra on the network's wavelengths."""
    for flight in data.flights:
        spectra = on_grid(flight.spectra, data.grid.centres, basis).astype(float)
        yield replace(flight, spectra=spectra)


def _tensor(values: FloatArray | Float32Array) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def released_methods(model: str = DEFAULT_MODEL) -> Sequence[ReleasedMethod]:
    """Blind, with a profile, with local spectra, and with both.

    Those with one of the two are not given known ground as well, which would take long.
    """
    return [
        ReleasedMethod(
            name="+".join(["pgunet-released", *(["profile"] * profile), *(["adapt"] * adapt)]),
            model=model,
            profile=profile,
            adapt=adapt,
            pairs="possible" if adapt == profile else "none",
            reference="the released weights, which are not trained again",
        )
        for adapt in (False, True)
        for profile in (False, True)
    ]


RELEASED: Final = {method.name: method for method in released_methods()}
"""The released model by what it is given of the known flights, in the order of tables."""
