"""Reconstruction of plots with known spectra: errors and coverage, one flight at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uavssr.errors import InputRefused
from uavssr.evaluation.coverage import INTERVAL_90
from uavssr.evaluation.metrics import rmse, sam
from uavssr.io.stf import read_stf, reference_pixels_of, scene_estimate
from uavssr.model import Correction, Model, PGUNet, ResponseFamily, Stf, find_materials
from uavssr.reconstruction import stf_from_estimate
from uavssr.sensors import FloatArray, Sensor
from uavssr.spectra import PlotTable


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotErrors:
    """Errors of the reconstructed spectra of n plots, at the reference's own wavelengths."""

    plots: int
    """n."""
    rmse: float
    """Root mean squared error, reflectance."""
    sam: float
    """Mean spectral angle, degrees."""
    coverage: float
    """Share of the errors within the 90 % intervals; NaN without standard errors."""


@torch.no_grad()
def blind_plot_stf(network: PGUNet, sensor: Sensor, msi: FloatArray) -> Stf:
    """The STF that plots (n, c) alone reveal."""
    start = Stf.from_prior(ResponseFamily.of(sensor, network.grid))
    materials = find_materials(torch.tensor(msi.T[None], dtype=torch.float32), pooled=True)
    return network.estimate_stf(materials, start)[-1]


@torch.no_grad()
def plot_errors(
    network: PGUNet,
    stf: Stf,
    table: PlotTable,
    correction: Correction | None = None,
) -> PlotErrors:
    """Errors of the spectra that an STF gives of the plots of a table, each as uniform ground.

    Wavelengths outside the network's are left out.

    Raises:
        InputRefused: none of the table's wavelengths lies within the network's.
    """
    msi = torch.tensor(table.msi, dtype=torch.float32)
    ground = network.reconstruct_ground(msi, stf, correction=correction)
    pixels, coefficients = (part.mT[None, :, :, None] for part in (msi, ground))
    basis = network.basis if correction is None else correction.basis
    uncertainty = network.cube_uncertainty(stf, correction)
    sigma = uncertainty.expand(uncertainty.maps(pixels, coefficients))
    centres = network.grid.centres
    inside = (table.nm >= centres[0]) & (table.nm <= centres[-1])
    if not inside.any():
        raise InputRefused(
            f"wavelengths of {table.nm[0]:g}-{table.nm[-1]:g} nm, the model has "
            f"{centres[0]:.1f}-{centres[-1]:.1f} nm",
            path=table.path,
            remedy="choose another model with --model",
        )
    estimate, error = (
        np.stack([np.interp(table.nm[inside], centres, row) for row in part[0, :, :, 0].mT.numpy()])
        for part in (basis.expand(coefficients), sigma)
    )
    truth = table.spectra[:, inside]
    return PlotErrors(
        plots=len(truth),
        rmse=rmse(estimate.T, truth.T),
        sam=sam(estimate.T, truth.T),
        coverage=float((np.abs(estimate - truth) < INTERVAL_90 * error).mean()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotReport:
    """Errors of the flights of a table."""

    flights: dict[str, PlotErrors]
    """Of each flight."""
    warnings: tuple[str, ...]
    """Sentences for the user."""


def mean_plot_errors(errors: Sequence[PlotErrors]) -> PlotErrors:
    """Means over flights, each with the same weight, and the sum of their plots."""
    values = np.mean([(row.rmse, row.sam, row.coverage) for row in errors], axis=0).tolist()
    plots = sum(row.plots for row in errors)
    return PlotErrors(plots=plots, rmse=values[0], sam=values[1], coverage=values[2])


def evaluate_plots(
    table: PlotTable, sensor: Sensor, model: Model, *, stf: Path | None = None
) -> PlotReport:
    """Reconstruct the plots of each flight, blind, or with a given STF, and compare.

    Args:
        table: plots of one flight or more, each taken as uniform ground.
        sensor: the camera, or its profile.
        model: the model.
        stf: a `.stf.nc`, held fixed for all flights, with its reference spectra; None: blind.

    Raises:
        InputRefused: the STF does not fit, or no wavelength is shared with the model.
    """
    network, warnings = model.network, list[str]()
    if table.skipped:
        warnings.append(f"left out of {table.path.name}: {table.skipped} rows of no reflectance")
    given, correction = None, None
    if stf is not None:
        held = read_stf(stf, sensor=sensor, grid=model.grid)
        given = stf_from_estimate(network, sensor, scene_estimate(held), device=torch.device("cpu"))
        if (references := reference_pixels_of(held)) is not None:
            pair = (references.msi, references.spectra)
            correction = network.fit_correction(
                given, *(torch.tensor(part, dtype=torch.float32) for part in pair)
            )
            known = {tuple(row) for row in references.msi.astype(np.float32).tolist()}
            rows = table.msi.astype(np.float32).tolist()
            if count := sum(tuple(row) in known for row in rows):
                warnings.append(
                    f"{count} of {len(rows)} plots are reference spectra in {stf.name}: their "
                    "errors are smaller than those of other ground"
                )
    flights = {}
    for name in table.flights:
        plots = table.of(name)
        used = given or blind_plot_stf(network, sensor, plots.msi)
        flights[name] = plot_errors(network, used, plots, correction)
    return PlotReport(flights=flights, warnings=tuple(warnings))
