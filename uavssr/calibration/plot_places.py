"""Places in an image: its reflectance there, and whether a table of plots says the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from uavssr.calibration.registration import read_unsaturated
from uavssr.errors import InputRefused
from uavssr.io.hsi import map_to_pixel, pixel_to_map, reproject_points
from uavssr.io.msi import MsiSource
from uavssr.io.raster import WGS84, is_local, metres_per_unit
from uavssr.sensors import FloatArray
from uavssr.spectra import PlotTable
from uavssr.tiling import Window

PLOT_RADIUS_M: Final = 0.5
"""Metres around the place of a plot in which its image is averaged."""
MIN_COMPARED_PLOTS: Final = 3
"""Least number of plots whose median ratio is compared."""
MAX_PLOT_RATIO: Final = 1.25
"""Median ratio of a table's values to the image, either way, beyond which a warning is given."""
_MAX_PIXELS: Final = 1_000_000
"""Most pixels around one place that are read."""


def place_warnings(table: PlotTable, msi: MsiSource) -> Iterator[str]:
    """Sentences on plots at whose places the image does not show what their table says."""
    known = np.isfinite(table.places).all(1)
    if not known.any():
        return
    name, places = table.path.name, table.places[known]
    if table.geographic and is_local(msi.crs_wkt):
        yield f"the places in {name} are not compared with the image, whose coordinates are local"
        return
    if table.geographic:
        places = reproject_points(places, WGS84, msi.crs_wkt)
    means = [mean_around(msi, place, PLOT_RADIUS_M) for place in places]
    usable = np.array([not isinstance(mean, str) for mean in means])
    if not usable.any():
        yield (
            f"the image shows none of the {len(places)} places in {name} ({means[0]}): its values "
            "are taken as they are; check the coordinates, and that it is of this image"
        )
    elif usable.sum() >= MIN_COMPARED_PLOTS:
        shown = np.array([mean for mean in means if not isinstance(mean, str)]).clip(1e-4)
        ratio = np.median(table.msi[known][usable] / shown, axis=0)
        if (np.abs(np.log(ratio.clip(1e-4))) > math.log(MAX_PLOT_RATIO)).any():
            pairs = zip(msi.sensor.roles, ratio.tolist(), strict=True)
            bands = ", ".join(f"{role} {value:.2f}" for role, value in pairs)
            yield (
                f"the values in {name} are {bands} x the image at their places: check that they "
                "are of this flight, and the scale of both"
            )


def mean_around(msi: MsiSource, place: FloatArray, radius: float) -> FloatArray | str:
    """Mean reflectance (c,) of the place's pixel and of those with centres within `radius` metres.

    Half of them must be valid and none saturated; otherwise the reason to skip the place.
    """
    if not np.isfinite(place).all():
        return "outside the image"
    column, row = map_to_pixel(msi.transform, place[None])[0]
    if not (0 <= column < msi.width and 0 <= row < msi.height):
        return "outside the image"
    window, centre = _window(msi, place, radius, row=row, column=column)
    if window.height * window.width > _MAX_PIXELS:
        raise InputRefused(f"a radius of {radius:g} m covers more than {_MAX_PIXELS} pixels")
    y, x = np.mgrid[window.rows, window.cols] + 0.5
    middles = pixel_to_map(msi.transform, np.stack([x, y], axis=-1).reshape(-1, 2))
    metres = (middles - place) * metres_per_unit(msi.crs_wkt, x=place[0], y=place[1])
    within = (np.hypot(*metres.T) <= radius).reshape(y.shape)
    within[centre.within(window)] = True
    values, valid, saturated = read_unsaturated(msi, window)
    if (saturated & within).any():
        return "saturated in the image"
    if (valid & within).sum() * 2 < within.sum():
        return "invalid in the image"
    return np.asarray(values[:, valid & within].mean(1, dtype=float))


def _window(
    msi: MsiSource, place: FloatArray, radius: float, *, row: float, column: float
) -> tuple[Window, Window]:
    """The window that holds a circle of `radius` metres about a place, and the place's pixel."""
    x, y = metres_per_unit(msi.crs_wkt, x=place[0], y=place[1])
    a, b, _, d, e, _ = msi.transform
    # distance of rows or columns = area of a pixel / its side
    area = abs(a * e - b * d) * x * y
    down, right = area / math.hypot(a * x, d * y), area / math.hypot(b * x, e * y)
    centre = Window(math.floor(row), math.floor(column), 1, 1)
    reach = math.ceil(radius / min(down, right))
    return centre.grown(reach, height=msi.height, width=msi.width), centre
