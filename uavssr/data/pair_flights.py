"""Flights with known spectra for comparisons: tables of plots, and images with their cubes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.calibration import Flight
from uavssr.data.manifest import read_manifest
from uavssr.data.pair_sources import DataConfig, SceneSource, open_sources
from uavssr.data.plot_sources import PlotSource
from uavssr.errors import InputRefused, UsageError
from uavssr.io.msi import MsiSource
from uavssr.sensors import (
    HEADWALL_NANO,
    BoolArray,
    Float32Array,
    FloatArray,
    IndexArray,
    Sensor,
    WavelengthGrid,
)
from uavssr.spectra import PlotTable, holds_plots, read_plot_table, resample
from uavssr.tiling import Window

IMAGE_SIDES: Final = (256, 192, 128, 96, 64, 32, 16)
"""Sides in pixels of the part of an image that is compared: the first that is valid throughout."""
FLIGHT_PIXELS: Final = 2000
"""Most pixels of a flight of images that stand for its spectra."""
MAX_OVERHANG_NM: Final = 12.0
"""Nanometres by which a comparison's wavelengths may lie beyond those that were measured."""
_REGION: Final = 384
"""Side in pixels of the middle of an image in which that part is sought."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairImage:
    """An image of n plots, or a part of a raster, with its spectra."""

    flight: str
    """Name of the flight."""
    msi: Float32Array
    """(c, y, x) reflectance of the image; plots lie in one row."""
    cube: Float32Array
    """(C, y, x) reflectance of its ground."""
    source: MsiSource | None = None
    """The image; None for a table of plots."""

    @property
    def apart(self) -> bool:
        """Whether each pixel is a plot."""
        return self.source is None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairFlights:
    """Images of flights of one camera, with their spectra."""

    name: str
    """Stem of the file."""
    sensor: Sensor
    """The camera."""
    grid: WavelengthGrid
    """The C wavelengths that are compared."""
    images: tuple[PairImage, ...]
    """All images, one or more of each flight."""

    @property
    def flights(self) -> tuple[str, ...]:
        """Names of the flights, sorted."""
        return tuple(sorted({image.flight for image in self.images}))

    def of(self, flights: Sequence[str]) -> tuple[PairImage, ...]:
        """The images of these flights, by their names.

        Raises:
            UsageError: there is no such flight.
        """
        if unknown := sorted(set(flights) - set(self.flights)):
            fact = f"no flight {unknown[0]!r} in {self.name}"
            raise UsageError(fact, remedy=f"it has {', '.join(self.flights)}")
        chosen = (image for image in self.images if image.flight in flights)
        return tuple(sorted(chosen, key=lambda image: image.flight))


def read_pair_flights(
    path: Path, *, sensor: Sensor | None = None, bands: Sequence[str] | None = None
) -> PairFlights:
    """Read real pairs for a comparison: a table of plots, or a manifest of images with cubes.

    Args:
        path: a table (.npz, .csv; see `read_plot_table`), or a manifest as `train` takes it, whose
            groups are the flights.
        sensor: the camera of a table; a manifest names its own.
        bands: roles of the bands of a table that are used, all by default.

    Raises:
        UsageError: no camera for a table, no such band, or cameras that differ.
        InputRefused, ManifestRefused: a file cannot be used.
    """
    if sensor is not None and holds_plots(path, sensor):
        table = read_plot_table(path, sensor)
        used, chosen = _chosen_bands(sensor, bands)
        grid = comparison_grid(table.nm, path.stem)
        images = [_plot_image(name, table.of(name), grid, chosen) for name in table.flights]
        return PairFlights(name=path.stem, sensor=used, grid=grid, images=tuple(images))
    if path.suffix.lower() == ".npz":
        raise UsageError("a table of plots without a camera", path=path, remedy="give --sensor")
    own, sources = open_sources(read_manifest(path), DataConfig())
    grid = comparison_grid(own.centres, path.stem)
    images, sensors = [], []
    for source in sources:
        if source.sensor is None or (isinstance(source, SceneSource) and source.image is None):
            fact = f"line {source.row.line} is a cube without an image"
            raise InputRefused(fact, path=path, remedy="name pairs alone")
        sensors.append(source.sensor)
        images.append(_image_of(source, grid))
    if others := [other.name for other in sensors if other != sensors[0]]:
        fact = f"cameras {sensors[0].name} and {others[0]} in one manifest"
        raise UsageError(fact, path=path, remedy="compare one camera at a time")
    return PairFlights(name=path.stem, sensor=sensors[0], grid=grid, images=tuple(images))


def comparison_grid(nm: FloatArray, name: str) -> WavelengthGrid:
    """The wavelengths for a comparison with spectra at `nm` (W,): these, or fewer.

    They lie within those of `HEADWALL_NANO`. Spectra that are finer are compared on its bands.
    """
    centres, fwhm = HEADWALL_NANO.centres, HEADWALL_NANO.fwhm
    if np.median(np.diff(nm)) < np.median(np.diff(centres)) - 0.05:
        inside = (centres > nm[0] - MAX_OVERHANG_NM) & (centres < nm[-1] + MAX_OVERHANG_NM)
        return WavelengthGrid(name, centres[inside], fwhm[inside])
    own = nm[(nm >= centres[0]) & (nm <= centres[-1])]
    return WavelengthGrid(name, own, np.abs(np.gradient(own)))


def flight_pairs(images: Sequence[PairImage]) -> tuple[Flight, ...]:
    """The spectra of each flight (k, C) and its image there (k, c), at most `FLIGHT_PIXELS`."""
    flights = []
    for name in dict.fromkeys(image.flight for image in images):
        own = [image for image in images if image.flight == name]
        msi, spectra = (
            np.concatenate([part.reshape(len(part), -1).T for part in parts]).astype(float)
            for parts in ([image.msi for image in own], [image.cube for image in own])
        )
        every = -(-len(msi) // FLIGHT_PIXELS)
        flights.append(Flight(name=name, spectra=spectra[::every], msi=msi[::every]))
    return tuple(flights)


def _chosen_bands(sensor: Sensor, bands: Sequence[str] | None) -> tuple[Sensor, list[int]]:
    if not bands:
        return sensor, list(range(len(sensor)))
    if unknown := [band for band in bands if band not in sensor.roles]:
        fact = f"{sensor.name} has no band {unknown[0]}"
        raise UsageError(fact, remedy=f"it has {', '.join(sensor.roles)}")
    chosen = [index for index, role in enumerate(sensor.roles) if role in bands]
    used = tuple(sensor.bands[index] for index in chosen)
    return Sensor(name=sensor.name, bands=used, common_gain_sd=sensor.common_gain_sd), chosen


def _plot_image(
    flight: str,
    table: PlotTable,
    grid: WavelengthGrid,
    bands: Sequence[int],
) -> PairImage:
    own = np.isin(table.nm, grid.centres)
    resampled = own.sum() != len(grid)
    spectra = resample(table.spectra, table.nm, grid) if resampled else table.spectra[:, own]
    return PairImage(
        flight=flight,
        msi=np.ascontiguousarray(table.msi[:, bands].T[:, None], np.float32),
        cube=np.ascontiguousarray(spectra.T[:, None], np.float32),
    )


def _image_of(source: SceneSource | PlotSource, grid: WavelengthGrid) -> PairImage:
    if isinstance(source, PlotSource):
        bands = range(len(source.sensor))
        return _plot_image(source.flight, source.table, grid, list(bands))
    if source.image is None:
        raise ValueError(f"line {source.row.line} has no image")
    image = source.image
    top, left = (max(0, (side - _REGION) // 2) for side in (image.height, image.width))
    region = Window(top, left, min(image.height, _REGION), min(image.width, _REGION))
    msi, cube, valid = source.read(region, grid)
    if msi is None or (part := _valid_square(valid)) is None:
        raise InputRefused(
            f"no {IMAGE_SIDES[-1]} x {IMAGE_SIDES[-1]} pixels in the middle are valid throughout",
            path=source.row.hsi,
            remedy="crop image and cube to ground that both show",
        )
    flight = source.row.group or source.row.msi[0].stem
    return PairImage(
        flight=flight,
        msi=np.ascontiguousarray(msi[:, part[0], part[1]]),
        cube=np.ascontiguousarray(cube[:, part[0], part[1]]),
        source=image,
    )


def _valid_square(valid: BoolArray) -> tuple[slice, slice] | None:
    """The largest square of `IMAGE_SIDES` without an invalid pixel, nearest to the middle."""
    sums: IndexArray = np.pad(np.cumsum(np.cumsum(~valid, 0), 1), ((1, 0), (1, 0)))
    for side in (side for side in IMAGE_SIDES if side <= min(valid.shape)):
        inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side]
        free = np.argwhere(inside + sums[:-side, :-side] == 0)
        if len(free):
            middle = (np.array(inside.shape) - 1) / 2
            top, left = free[np.abs(free - middle).sum(1).argmin()].tolist()
            return slice(top, top + side), slice(left, left + side)
    return None
