"""A camera's profile: flights from references, and its responses as an STF product to draw."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from uavssr.calibration.band_coverage import on_grid, reference_bands
from uavssr.calibration.camera_fit import Flight
from uavssr.calibration.references import (
    Reference,
    plausible_places,
)
from uavssr.io.stf import stf_arrays
from uavssr.model import ResponseFamily, SceneStatistics, SpectralBasis, Stf
from uavssr.reconstruction import summarise_stf
from uavssr.sensors import HEADWALL_NANO, Sensor, WavelengthGrid

if TYPE_CHECKING:
    from uavssr.io.stf import StfArrays


def flight_of(reference: Reference, sensor: Sensor, basis: SpectralBasis, *, name: str) -> Flight:
    """A flight over the ground of a reference, for `fit_camera`.

    Raises:
        InputRefused: the reference covers no band, or no place is plausible.
    """
    usable = plausible_places(reference)
    covered = reference_bands(sensor, usable)
    spectra = on_grid(usable.spectra, usable.nm, basis)
    return Flight(name=name, spectra=spectra.astype(float), msi=usable.msi, covered=covered)


def profile_stf(
    profile: Sensor, data_sheet: Sensor, *, grid: WavelengthGrid = HEADWALL_NANO
) -> StfArrays:
    """The responses that a camera is expected to have in its next flight, with standard errors.

    `viz.draw_stf` draws them beside the data sheet's.
    """
    stf, basis = Stf.from_prior(ResponseFamily.of(profile, grid)), SpectralBasis.identity(grid)
    nothing = torch.zeros((1, len(profile), 1)), torch.zeros((1, len(grid), 1))
    statistics = SceneStatistics.of(*nothing, stf.rows, torch.zeros((1, len(profile))))
    estimate = summarise_stf(stf, statistics, basis, valid_fraction=0.0)
    return stf_arrays(
        sensor=profile,
        grid=grid,
        nominal=data_sheet.srf(grid),
        scene=replace(estimate, prior_driven=np.zeros(len(profile), bool)),
        crs_wkt="",
        transform=(1, 0, 0, 0, 1, 0),
    )
