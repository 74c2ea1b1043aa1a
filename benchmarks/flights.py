"""Simulated flights of one camera over held-out scenes, and what is known of the camera.

A camera is drawn near its data sheet, as in training. Its image of a scene has a factor common to
all bands. Three earlier flights of the same camera over other ground have factors of their own, and
gains that differ from band to band (`FLIGHT_SPREAD`). All images have a SNR of 25-45 dB.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from heldout import HeldOut

from uavssr.analysis import SpectralErrors
from uavssr.calibration import CellValues, Flight, calibrate, fit_camera, fit_satellite
from uavssr.data import RandomCameras, observe
from uavssr.evaluation import draw_image
from uavssr.model import (
    SHIFT,
    Correction,
    PGUNet,
    ResponseFamily,
    Stf,
    find_materials,
)
from uavssr.sensors import FLIGHT_SPREAD, Float32Array, FloatArray, Sensor, load_sensor

COMMON_FACTOR = 0.1
"""Standard deviation of the logarithm of the factor common to all bands of a flight."""
EARLIER_FLIGHTS = 3
PLOTS = 10
"""Known plots in each earlier flight, of random measured spectra of the library."""
CARD = 0.5
"""Reflectance of the grey card."""
CARD_PIXELS = 25
"""Pixels of the image that show the card alone."""
CELL = 8
"""Side in pixels of a satellite's cell. Its point spread and registration are taken as perfect."""
MAX_CELLS = 64
"""Cells of a satellite image that are used at most, at random."""
SATELLITE_ERROR, SATELLITE_COMMON, SATELLITE_NOISE = 0.05, 0.03, 0.01
"""Relative standard deviations of Sentinel-2's errors: of a band in all cells, of all bands
together, and of a single value."""
CARD_ERROR = 0.01
"""Relative standard deviation of the card's reflectance in a band: dirt, angle, aging."""


@dataclass(frozen=True)
class Estimate:
    """A cube with its standard errors, and the STF that it was made with."""

    cube: Float32Array
    """(C, n) reflectance."""
    sigma: Float32Array
    """(C, n) standard errors."""
    stf: Stf
    coefficients: torch.Tensor
    """(r, n) of the cube; more with a correction."""
    correction: Correction | None = None
    """The correction of the cube with known pixels."""

    def errors(self, network: PGUNet) -> SpectralErrors:
        """What the errors of the cube follow from."""
        basis = network.basis if self.correction is None else self.correction.basis
        return SpectralErrors(
            network=network, stf=self.stf, basis=basis, correction=self.correction
        )


@dataclass(frozen=True)
class SimulatedFlight:
    """One camera's image of a scene."""

    given: HeldOut
    cube: Float32Array
    """(C, y, x) the true cube."""
    seed: int
    level: float = 0.0
    """Logarithm of a factor common to all bands of all flights of the camera."""

    @cached_property
    def drawn(self) -> tuple[torch.Tensor, RandomCameras, float]:
        """The image (1, c, y, x), the true camera without the common factor, and its logarithm.

        The factor is that of this flight times that of the camera.
        """
        image, cameras = draw_image(self.cube, self.given.sensor, self.network, self.seed)
        factor = self.level + COMMON_FACTOR * np.random.default_rng([self.seed, 6]).normal()
        return image * float(np.exp(factor)), cameras, float(factor)

    @property
    def network(self) -> PGUNet:
        """The network of the model."""
        return self.given.model.network

    @property
    def image(self) -> torch.Tensor:
        """(1, c, y, x) what the camera saw, reflectance."""
        return self.drawn[0]

    @property
    def rows(self) -> Float32Array:
        """(c, C) the true STF, with the common factor."""
        _, cameras, factor = self.drawn
        return np.asarray(cameras.rows[0] * np.exp(factor), np.float32)

    @property
    def shift(self) -> np.ndarray:
        """(c,) true shifts of the centres in nm."""
        return np.asarray(self.drawn[1].theta[0, :, 0])

    def centre_errors(self, estimate: Estimate) -> np.ndarray:
        """(c,) errors in nm of an estimate's centres, which may be relative to a profile's."""
        family, shift = estimate.stf.family, estimate.stf.theta[0, :, SHIFT]
        moved = (family.centre - self.given.family.centre)[0] + shift
        return np.asarray(moved.numpy() - self.shift)

    @property
    def log_gain(self) -> np.ndarray:
        """(c,) logarithm of the true gains, with the common factor."""
        _, cameras, factor = self.drawn
        return np.asarray(cameras.theta[0, :, 2] + factor)

    def blind(self, sensor: Sensor | None = None) -> Estimate:
        """From the image alone, or with a camera's profile."""
        family = self.given.family if sensor is None else self._family(sensor)
        return self._estimate(Stf.from_prior(family), estimate_stf=True)

    @cached_property
    def profile(self) -> Sensor:
        """The camera as the earlier flights show it."""
        _, cameras, _ = self.drawn
        library = self.given.library
        measured = library.spectra[library.source != "synthetic"]
        rng = np.random.default_rng([self.seed, 8])
        flights = []
        for number in range(EARLIER_FLIGHTS):
            spectra = measured[rng.choice(len(measured), PLOTS, replace=False)]
            change = FLIGHT_SPREAD * rng.normal(size=len(self.rows)) + COMMON_FACTOR * rng.normal()
            change = change + self.level
            rows = cameras.rows * np.exp(change).astype(np.float32)[:, None]
            seen = observe(rng, spectra.T[None, :, :, None], rows)[0, :, :, 0].T
            flight = Flight(name=str(number), spectra=spectra.astype(float), msi=seen.astype(float))
            flights.append(flight)
        return fit_camera(self.given.sensor, flights, self.network.grid, name="profile").sensor

    @torch.no_grad()
    def with_card(self, sensor: Sensor | None = None) -> Estimate:
        """With one grey card in the image, whose noise is that of the scene, and a profile."""
        noise = (self.image[0].flatten(1).numpy() - self.rows @ self.spectra).std(1)
        rng = np.random.default_rng([self.seed, 9])
        errors = rng.normal(size=(2, len(noise)))
        flat = np.full((1, self.rows.shape[1]), CARD)
        seen = (1 + CARD_ERROR * errors[0]) * (self.rows @ flat[0])
        seen = seen + noise * errors[1] / CARD_PIXELS**0.5
        family = self.given.family if sensor is None else self._family(sensor)
        materials = find_materials(self.image.flatten(2), None, pooled=True)
        complete = partial(self.network.continue_stf, materials)
        fit = calibrate(family, flat, seen[None], basis=self.network.basis, complete=complete)
        return self._estimate(fit.stf)

    @torch.no_grad()
    def with_satellite(self) -> Estimate:
        """With an image of Sentinel-2A, whose systematic errors are 5 % a band."""
        rng = np.random.default_rng([self.seed, 10])
        satellite = load_sensor("sentinel2a")
        response = satellite.srf(self.network.grid)
        seen, spectra = (cell_means(part) for part in (self.image[0].numpy(), self.cube))
        factor = SATELLITE_ERROR * rng.normal(size=len(satellite)) + SATELLITE_COMMON * rng.normal()
        chosen = rng.choice(len(seen), min(len(seen), MAX_CELLS), replace=False)
        seen, spectra = seen[chosen], spectra[chosen]
        clean = spectra @ response.T * np.exp(factor)
        values = clean * (1 + SATELLITE_NOISE * rng.normal(size=clean.shape))
        cells = CellValues(
            msi=torch.from_numpy(seen),
            msi_se=torch.full(seen.shape, 1e-3, dtype=torch.float64),
            reflectance=torch.from_numpy(values),
            reflectance_se=torch.from_numpy(SATELLITE_NOISE * clean),
            response=torch.from_numpy(response),
        )
        materials = find_materials(self.image.flatten(2), None, pooled=True)
        fit = fit_satellite(self.network, self.given.family, materials, cells, SATELLITE_ERROR)
        return self._estimate(fit.stf)

    def with_pixels(self, count: int) -> Estimate:
        """With the spectra of random pixels, which also correct the cube."""
        rng = np.random.default_rng([self.seed, 50])
        chosen = rng.choice(self.spectra.shape[1], count, replace=False)
        known = np.ascontiguousarray(self.spectra[:, chosen].T)
        seen = np.ascontiguousarray(self.image[0].flatten(1).numpy()[:, chosen].T)
        stf = calibrate(self.given.family, known, seen, basis=self.network.basis).stf
        correction = self.network.fit_correction(
            stf, torch.from_numpy(seen), torch.from_numpy(known)
        )
        return self._estimate(stf, correction=correction)

    def with_true_stf(self) -> Estimate:
        """With the true STF."""
        _, cameras, factor = self.drawn
        family = self.given.family
        theta = torch.from_numpy(cameras.theta).clone()
        theta[..., 2] += factor
        nothing = torch.zeros_like(family.spread)
        return self._estimate(
            Stf.of(family, theta, nothing, rows=torch.from_numpy(self.rows)[None])
        )

    @property
    def spectra(self) -> Float32Array:
        """(C, n) the true cube."""
        return self.cube.reshape(len(self.cube), -1)

    def _family(self, sensor: Sensor) -> ResponseFamily:
        return ResponseFamily.of(sensor, self.network.grid)

    @torch.no_grad()
    def _estimate(
        self, stf: Stf, *, estimate_stf: bool = False, correction: Correction | None = None
    ) -> Estimate:
        network = self.network
        result = network(self.image, stf, estimate_stf=estimate_stf, correction=correction)
        uncertainty = network.cube_uncertainty(result.stf, correction)
        maps = uncertainty.maps(self.image, result.coefficients)
        basis = network.basis if correction is None else correction.basis
        return Estimate(
            cube=basis.expand(result.coefficients)[0].flatten(1).numpy(),
            sigma=uncertainty.expand(maps)[0].flatten(1).numpy(),
            stf=result.stf,
            coefficients=result.coefficients[0].flatten(1),
            correction=correction,
        )


def cell_means(maps: Float32Array) -> FloatArray:
    """Means (k, C) over cells of `CELL` pixels a side of maps (C, y, x); the rest is left out."""
    bands, height, width = maps.shape
    rows, columns = height // CELL, width // CELL
    whole = maps[:, : rows * CELL, : columns * CELL].astype(float)
    return whole.reshape(bands, rows, CELL, columns, CELL).mean((2, 4)).reshape(bands, -1).T.copy()
