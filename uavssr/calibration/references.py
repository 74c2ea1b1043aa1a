"""Reference spectra, of a cube or a table, and the reflectance of their places in an image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np

from uavssr.calibration.band_comparison import BandComparison
from uavssr.calibration.band_coverage import covered_bands
from uavssr.calibration.overlap import Overlap, read_overlap
from uavssr.calibration.plot_places import mean_around, place_warnings
from uavssr.errors import InputRefused, UsageError
from uavssr.io.hsi import map_to_pixel, open_cube_source, pixel_to_map, reproject_points
from uavssr.io.msi import MsiSource
from uavssr.io.raster import WGS84, is_local, parse_scale
from uavssr.reconstruction import PLAUSIBLE
from uavssr.sensors import FloatArray, Sensor, WavelengthGrid
from uavssr.spectra import (
    FIELD_REFLECTANCE,
    FieldTable,
    PlotTable,
    holds_plots,
    read_field_table,
    read_plot_table,
)

MAX_SILENT_SHIFT_PX: Final = 0.5
"""Shift of a cube in pixels of the image beyond which a warning is given."""
MIN_CORRELATED_BLOCKS: Final = 20
"""Least number of blocks whose ratios and correlation are checked."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """k places: their spectra, and their reflectance in an image of c bands."""

    path: Path
    """The file as given."""
    kind: Literal["cube", "spectra", "panels", "plots"]
    """Kind of its contents."""
    nm: FloatArray
    """(W,) wavelengths in nm, increasing."""
    spectra: FloatArray
    """(k, W) reflectance."""
    msi: FloatArray
    """(k, c) reflectance in the image, in its sensor's band order."""
    patterns: FloatArray
    """(k, c, q) misregistration patterns, reflectance per pixel; q is 0 for tables."""
    places: FloatArray
    """(k, 2) column and row in the image; NaN for a table of plots, whose places are not used."""
    facts: dict[str, str]
    """Block size and shift of a cube, flight of plots, for the STF file's attributes."""
    skipped: dict[str, int]
    """Number of places left out, by reason."""
    warnings: tuple[str, ...]
    """Sentences for the user."""


def open_reference(
    path: str | Path,
    msi: MsiSource,
    *,
    scale: float | str | None = None,
    flight: str | None = None,
) -> Reference:
    """Read a reference and the reflectance of its places in an image.

    Args:
        path: a table of spectra or panels (.csv), a table of plots (.csv or .npz), or a
            hyperspectral GeoTIFF or ENVI file, also by its header (.hdr).
        msi: the image.
        scale: reflectance = number in the reference x scale; by default from the file.
        flight: the flight of a table of plots, where that holds several.

    Raises:
        UsageError: the scale is no number, or there is no such flight.
        InputRefused: the reference is broken or ambiguous, or has no place in the image.
    """
    file = Path(path)
    factor = None if scale is None else parse_scale(scale)
    if holds_plots(file, msi.sensor):
        table = read_plot_table(file, msi.sensor, scale=factor or 1.0)
        plots = _one_flight(table, flight)
        return replace(reference_of_plots(plots), warnings=tuple(place_warnings(plots, msi)))
    if flight is not None:
        fact = f"{file.name} is no table of plots, which --flight is for"
        raise UsageError(fact, remedy="leave --flight out")
    if file.suffix.lower() == ".csv":
        return _from_table(read_field_table(file, scale=factor or 1.0), msi)
    return _from_cube(file, msi, factor)


def counted(skipped: Mapping[str, int]) -> str:
    """The reasons and their numbers as text: 2 outside the image, 1 invalid in the image."""
    return ", ".join(f"{number} {reason}" for reason, number in skipped.items())


def reference_of_plots(table: PlotTable) -> Reference:
    """The plots of one flight, whose image values the table holds."""
    return Reference(
        path=table.path,
        kind="plots",
        nm=table.nm,
        spectra=table.spectra,
        msi=table.msi,
        patterns=np.zeros((*table.msi.shape, 0)),
        places=np.full((len(table.msi), 2), np.nan),
        facts={"flight": table.flights[0]},
        skipped={"reflectance missing or out of range": table.skipped} if table.skipped else {},
        warnings=(),
    )


def _one_flight(table: PlotTable, flight: str | None) -> PlotTable:
    if flight is not None:
        return table.of(flight)
    if len(table.flights) > 1:
        raise InputRefused(
            f"holds {len(table.flights)} flights: {', '.join(table.flights)}",
            path=table.path,
            remedy="name that of the image with --flight NAME",
        )
    return table


def plausible_places(reference: Reference) -> Reference:
    """The reference without the places of implausible reflectance in the image.

    Raises:
        InputRefused: no place is left.
    """
    low, high = PLAUSIBLE
    plausible = np.asarray(((reference.msi > low) & (reference.msi < high)).all(1))
    if not plausible.any():
        raise InputRefused(
            f"none of its {len(plausible)} places has a reflectance within {low:g} to {high:g} in "
            "the image",
            path=reference.path,
            remedy="check the image's scale with uavssr inspect",
        )
    rest = int((~plausible).sum())
    return replace(
        reference,
        spectra=reference.spectra[plausible],
        msi=reference.msi[plausible],
        patterns=reference.patterns[plausible],
        places=reference.places[plausible],
        skipped=reference.skipped | ({"implausible in the image": rest} if rest else {}),
    )


def _from_cube(path: Path, msi: MsiSource, scale: float | None) -> Reference:
    cube = open_cube_source(path, scale=scale)
    try:
        overlap = read_overlap(cube, msi)
    except InputRefused as err:
        raise InputRefused(err.fact, path=err.path or path, remedy=err.remedy) from err
    low, high = FIELD_REFLECTANCE
    usable = ((overlap.spectra >= low) & (overlap.spectra <= high)).all(1)
    skipped = Counter(overlap.skipped)
    skipped["reflectance out of range"] += int((~usable).sum())
    if not usable.any():
        raise InputRefused(
            f"no block of {overlap.block} x {overlap.block} pixels of the image that it covers "
            f"can be used{': ' if +skipped else ''}{counted(+skipped)}",
            path=path,
            remedy="give a cube that overlaps the image, in the right CRS and scale",
        )
    return Reference(
        path=path,
        kind="cube",
        nm=cube.grid.centres,
        spectra=overlap.spectra[usable],
        msi=overlap.msi[usable],
        patterns=overlap.patterns[usable],
        places=overlap.places[usable],
        facts={
            "block": f"{overlap.block} x {overlap.block} pixels",
            "shift": str(overlap.registered),
        },
        skipped=dict(+skipped),
        warnings=(*cube.warnings, *_overlap_warnings(path, overlap, msi.sensor, cube.grid)),
    )


def _overlap_warnings(
    path: Path, overlap: Overlap, sensor: Sensor, grid: WavelengthGrid
) -> Iterator[str]:
    if not overlap.registered.determined and overlap.spectra.size:
        shift = f"the shift of {path.name} against the image: {overlap.registered}"
        yield f"{shift}; check the coordinates"
    elif math.hypot(*overlap.registered.shift) > MAX_SILENT_SHIFT_PX:
        down, right = overlap.registered.shift
        yield f"{path.name} was moved by {down:+.2f} rows and {right:+.2f} columns of the image"
    covered = covered_bands(sensor, grid.centres)
    if len(overlap.msi) >= MIN_CORRELATED_BLOCKS and covered.any():
        # Y = R X
        predicted = sensor.response() @ grid.interpolation() @ overlap.spectra.T
        roles = np.array(sensor.roles)[covered].tolist()
        bands = BandComparison.of(roles, predicted[covered], overlap.msi.T[covered])
        yield from (f"{path.name}: {oddity.text}" for oddity in bands.oddities())


def _from_table(table: FieldTable, msi: MsiSource) -> Reference:
    places = table.places
    if table.geographic and is_local(msi.crs_wkt):
        raise InputRefused(
            f"longitudes and latitudes, but the coordinates of the image are local "
            f"({msi.summary.crs})",
            path=table.path,
            remedy="give the places as columns x,y in the coordinates of the image",
        )
    try:
        if table.geographic:
            places = reproject_points(places, WGS84, msi.crs_wkt)
        around = zip(places, table.radius, strict=True)
        means = [mean_around(msi, place, radius) for place, radius in around]
    except InputRefused as err:
        raise InputRefused(err.fact, path=err.path or table.path, remedy=err.remedy) from err
    usable = [index for index, mean in enumerate(means) if not isinstance(mean, str)]
    skipped = Counter(reason for reason in means if isinstance(reason, str))
    skipped["reflectance missing or out of range"] += table.skipped
    if not usable:
        raise _nothing_left(table, +skipped, msi)
    return Reference(
        path=table.path,
        kind=table.kind,
        nm=table.nm,
        spectra=table.spectra[usable],
        msi=np.array([means[index] for index in usable], float),
        patterns=np.zeros((len(usable), len(msi.sensor), 0)),
        places=map_to_pixel(msi.transform, places[usable]),
        facts={},
        skipped=dict(+skipped),
        warnings=(),
    )


def _nothing_left(table: FieldTable, skipped: Counter[str], msi: MsiSource) -> InputRefused:
    ends = pixel_to_map(msi.transform, np.array([[0.0, 0.0], [msi.width, msi.height]]))
    (left, bottom), (right, top) = ends.min(0), ends.max(0)
    return InputRefused(
        f"none of its places can be used: {counted(skipped)}; the image spans x {left:.10g} to "
        f"{right:.10g} and y {bottom:.10g} to {top:.10g} in {msi.summary.crs}",
        path=table.path,
        remedy="check the coordinates: x,y are in the image's CRS, lon,lat in degrees",
    )
