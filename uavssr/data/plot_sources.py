"""Tables of plots as pairs: every flight is a source of mosaics of its plots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from uavssr.calibration import BandComparison, Oddity, on_grid
from uavssr.data.manifest_row import ManifestRow, parse_checks
from uavssr.data.random_cameras import observe
from uavssr.errors import InputRefused
from uavssr.io.hsi import TargetGrid
from uavssr.io.raster import parse_scale
from uavssr.model import SpectralBasis
from uavssr.sensors import Float32Array, FloatArray, IndexArray, Sensor, WavelengthGrid
from uavssr.spectra import PlotTable, read_plot_table, resample
from uavssr.tiling import Window

PLOT_SIDES: Final = (4, 12)
"""Least and largest side in pixels of a plot in a mosaic, drawn per mosaic."""
NOWHERE: Final = TargetGrid(height=0, width=0, crs_wkt="", transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
"""The pixel grid of mosaics, which lie nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlotSource:
    """The n plots of one flight."""

    row: ManifestRow
    """The row of the manifest; its group is the flight, its weight the flight's share."""
    table: PlotTable
    """The plots of the flight."""
    flight: str
    """Name of the flight."""
    sensor: Sensor
    """The camera."""
    bands: BandComparison
    """The image against the integrated spectra, over the plots."""
    accepted: tuple[Oddity, ...] = ()
    """Odd figures of the flight that the user accepts."""

    @property
    def grid(self) -> WavelengthGrid:
        """The table's own wavelengths."""
        return table_grid(self.table)

    @property
    def place(self) -> TargetGrid:
        """The pixel grid of the mosaics."""
        return NOWHERE

    def mosaics(
        self, grid: WavelengthGrid, basis: SpectralBasis | None, *, side: int, seed: int
    ) -> Iterator[tuple[Window, Float32Array, Float32Array]]:
        """Draw windows, images (c, side, side) and cubes (C, side, side) without end.

        A mosaic consists of squares of random plots. The image has the noise of a camera, the cube
        none. Spectra end where the table does; `basis` completes them to the grid.
        """
        spectra = self.spectra_on(grid, basis)
        rng = np.random.default_rng([seed, self.row.line, *self.flight.encode(), 37])
        while True:
            plots = _draw_plots(rng, len(spectra), side)
            image = np.moveaxis(self.table.msi[plots], -1, 0)[None]
            cube = np.ascontiguousarray(np.moveaxis(spectra[plots], -1, 0), np.float32)
            same = np.eye(len(self.sensor))[None]
            noisy = observe(rng, image.astype(np.float32), same.astype(np.float32))[0]
            yield Window(0, 0, side, side), noisy, cube

    def spectra_on(self, grid: WavelengthGrid, basis: SpectralBasis | None) -> FloatArray:
        """Reflectance (n, C) on a grid; `basis` completes the wavelengths that the table lacks."""
        if basis is not None:
            return np.asarray(on_grid(self.table.spectra, self.table.nm, basis), float)
        return np.asarray(resample(self.table.spectra, self.table.nm, grid), float)

    def facts(self) -> dict[str, Any]:
        """Number of plots and the comparison of the bands, as plain values."""
        return {"flight": self.flight, "plots": len(self.table.msi), "bands": self.bands.facts()}

    def warnings(self) -> list[str]:
        """Warnings about the flight, with the row's line."""
        texts = [*self.bands.warnings(), *(f"accepted: {odd.text}" for odd in self.accepted)]
        return [f"line {self.row.line}: flight {self.flight}: {text}" for text in texts]


def table_grid(table: PlotTable) -> WavelengthGrid:
    """The wavelengths of a table as a grid; a band is as wide as the distance to the next."""
    return WavelengthGrid(table.path.stem, table.nm, np.abs(np.gradient(table.nm)))


def read_plots(row: ManifestRow) -> PlotTable:
    """Read the table of a row of kind plots.

    Raises:
        InputRefused: see `read_plot_table`; or fewer than two plots of a flight.
    """
    if row.sensor is None:
        raise InputRefused("a table of plots without a camera", path=row.hsi)
    scale, msi_scale = (
        1.0 if text is None else parse_scale(text) for text in (row.hsi_scale, row.msi_scale)
    )
    table = read_plot_table(row.hsi, row.sensor, scale=scale, msi_scale=msi_scale)
    for flight in table.flights:
        if (count := int((table.flight == flight).sum())) < 2:
            raise InputRefused(
                f"flight {flight} has {count} plot, and a mosaic needs two",
                path=row.hsi,
                remedy="leave it out, or give it the name of the flight that it belongs to",
            )
    return table


def flight_source(row: ManifestRow, table: PlotTable, flight: str) -> PlotSource:
    """The plots of one flight, compared with the integrated spectra.

    Raises:
        InputRefused: a band of the camera lies outside the table's wavelengths.
    """
    if row.sensor is None:
        raise InputRefused("a table of plots without a camera", path=row.hsi)
    own, grid = table.of(flight), table_grid(table)
    words = "|".join(filter(None, np.unique(own.accept).tolist()))
    accept = (*row.accept, *(parse_checks(words) if words else ()))
    weight = row.weight / len(table.flights)
    predicted = row.sensor.srf(grid) @ own.spectra.T
    return PlotSource(
        row=replace(row, group=row.group or flight, weight=weight, accept=accept),
        table=own,
        flight=flight,
        sensor=row.sensor,
        bands=BandComparison.of(row.sensor.roles, predicted, own.msi.T),
    )


def _draw_plots(rng: np.random.Generator, plots: int, side: int) -> IndexArray:
    """Draw the plot (side, side) that each pixel of a mosaic shows."""
    length = int(rng.integers(PLOT_SIDES[0], PLOT_SIDES[1] + 1))
    top, left = rng.integers(0, length, 2)
    across = side // length + 2
    drawn = rng.integers(0, plots, (across, across))
    position = np.arange(side)
    return np.asarray(drawn[np.ix_((position + top) // length, (position + left) // length)])
