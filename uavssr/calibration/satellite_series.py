"""One satellite image, or two interpolated in time, as one source of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.satellite import CellGrid, CellWindow, SatelliteImage, mixed_sensor
from uavssr.sensors import FINE_NM, HEADWALL_NANO, FloatArray, Sensor
from uavssr.tiling import Window

_TOLERANCE_CELLS: Final = 0.02
"""Shift of two grids of cells that count as the same."""
_MIN_RESPONSE_SHARE: Final = 0.95
"""Least share of a band's response on the cube's wavelengths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteSeries:
    """One or two satellite images on one grid with their weights."""

    images: tuple[SatelliteImage, ...]
    """The images, all of the same bands."""
    weights: tuple[float, ...]
    """Their weights, with a sum of 1."""
    sensor: Sensor
    """The satellite, or the two satellites' responses mixed with the weights."""

    @classmethod
    def of(cls, images: Sequence[SatelliteImage], weights: Sequence[float]) -> SatelliteSeries:
        """The images with the bands that lie on the cube's wavelengths.

        Raises:
            InputRefused: no band lies there, or two images differ in bands or grid.
        """
        usable = [_within_the_cube(image) for image in images]
        first, last = usable[0], usable[-1]
        if first.sensor.roles != last.sensor.roles:
            raise InputRefused(
                f"has bands {', '.join(last.sensor.roles)}, not {', '.join(first.sensor.roles)}",
                path=last.path,
                remedy=f"give images with the same bands, or leave out {last.path.name}",
            )
        sensor = mixed_sensor(first.sensor, last.sensor, weights[-1])
        series = cls(images=tuple(usable), weights=tuple(weights), sensor=sensor)
        series.read_offsets(first.grid())
        return series

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of the images."""
        return tuple(text for image in self.images for text in image.warnings)

    def bands_on(self, grid: CellGrid) -> tuple[int, ...]:
        """Indices of the bands that are as fine as the cells of a grid."""
        return self.images[0].bands_on(grid)

    def finer(self, grid: CellGrid) -> tuple[CellGrid, float, FloatArray]:
        """The finest cells, their number along a cell of `grid`, and where they begin on it.

        They begin at (column, row) (2,) of `grid`.
        """
        fine = self.images[0].grid(finest=True)
        offset = _offset(fine, grid)
        return fine, grid.transform[0] / fine.transform[0], offset

    def read(self, grid: CellGrid, window: Window) -> CellWindow:
        """The interpolated reflectance in a window of cells of the first image's grid."""
        read = []
        finest = grid != self.images[0].grid()
        for image, (down, right) in zip(self.images, self.read_offsets(grid), strict=True):
            own = image.grid(finest=finest)
            moved = replace(window, row=window.row + down, col=window.col + right)
            read.append(image.read(own, moved))
        # x(t) = sum_i w_i x_i
        mixed = [w * part.reflectance for w, part in zip(self.weights, read, strict=True)]
        names = {name for part in read for name in part.reasons}
        none = np.zeros((window.height, window.width), bool)
        return CellWindow(
            reflectance=np.sum(mixed, axis=0),
            reasons={
                name: np.any([part.reasons.get(name, none) for part in read], axis=0)
                for name in sorted(names)
            },
        )

    def read_offsets(self, grid: CellGrid) -> list[tuple[int, int]]:
        """Rows and columns from a cell of the first image's grid to the same in each image.

        Raises:
            InputRefused: the images have different grids.
        """
        finest, offsets = grid != self.images[0].grid(), []
        for image in self.images:
            own = image.grid(finest=finest)
            right, down = -_offset(own, grid)
            same_size = np.allclose(own.transform[::4], grid.transform[::4], rtol=1e-6)
            off = max(abs(right - round(right)), abs(down - round(down)))
            if own.crs_wkt != grid.crs_wkt or not same_size or off > _TOLERANCE_CELLS:
                raise InputRefused(
                    f"has another grid than {self.images[0].path.name}",
                    path=image.path,
                    remedy="give two images of one grid, such as of one tile of Sentinel-2",
                )
            offsets.append((round(down), round(right)))
        return offsets

    def facts(self) -> dict[str, str]:
        """Sensor, days, products and baselines, for messages and the STF file."""
        facts = {"sensor": self.sensor.name, "bands": ", ".join(self.sensor.roles)}
        facts["date"] = ", ".join(str(image.acquired) for image in self.images)
        if len(self.images) > 1:
            facts["weights"] = ", ".join(f"{weight:.2f}" for weight in self.weights)
        for name in ("product", "baseline", "scale"):
            facts[name] = ", ".join(image.facts[name] for image in self.images)
        return facts


def _offset(grid: CellGrid, base: CellGrid) -> FloatArray:
    """Where a grid begins on another of the same CRS, (column, row) (2,)."""
    a, _, c, _, e, f = base.transform
    return np.array([(grid.transform[2] - c) / a, (grid.transform[5] - f) / e])


def _within_the_cube(image: SatelliteImage) -> SatelliteImage:
    """The image with the bands that have 95 % of their response on the cube's wavelengths."""
    low, high = HEADWALL_NANO.centres[[0, -1]] + (-1, 1) * HEADWALL_NANO.fwhm[[0, -1]]
    share = image.sensor.response() @ ((low <= FINE_NM) & (high >= FINE_NM))
    covered = np.flatnonzero(share >= _MIN_RESPONSE_SHARE).tolist()
    if not covered:
        raise InputRefused(
            f"has no band within {low:.0f}-{high:.0f} nm",
            path=image.path,
            remedy="give visible and near infrared bands",
        )
    return replace(
        image,
        sensor=replace(image.sensor, bands=tuple(image.sensor.bands[i] for i in covered)),
        bands=tuple(image.bands[i] for i in covered),
    )
