"""The numbers inside a page, as JSON that its script reads."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from uavssr.analysis import SpectralSource, Zone
from uavssr.errors import InputRefused, printable
from uavssr.io.hsi import pixel_to_map, reproject_points
from uavssr.io.raster import WGS84
from uavssr.report.packed_spectra import PackedSpectra
from uavssr.report.page_sample import PageSample
from uavssr.sensors import BoolArray, Float32Array, FloatArray, NumberArray, response_moments
from uavssr.viz import wavelength_colours

if TYPE_CHECKING:
    from shapely import Geometry

Json = str | int | float | bool | None | Sequence["Json"] | dict[str, "Json"]

INDEX_PERCENTILES: Final = (0.1, 99.9)
"""Percentiles of an index between which a page holds its values; beyond, it says less or more."""
MAX_CORNERS: Final = 50_000
"""Most corners of all outlines of plots; beyond, none are drawn."""
_MISSING: Final = 65535
"""Count of a pixel without a value."""


def page_data(
    source: SpectralSource,
    sample: PageSample,
    spectra: PackedSpectra,
    errors: PackedSpectra | None,
    names: Sequence[str],
    zones: Sequence[Zone],
) -> Json:
    """What the script of a page needs; arrays of numbers are base64, little-endian."""
    grid = sample.cell_grid
    return {
        "height": source.height,
        "width": source.width,
        "step": grid.step,
        "shape": list(grid.shape),
        "mapStep": sample.map_grid.step,
        "mapShape": list(sample.map_grid.shape),
        "rows": grid.rows.tolist(),
        "cols": grid.cols.tolist(),
        "transform": list(source.transform),
        "crs": crs_label(source.crs_wkt),
        "corners": _corners(source),
        "metres": source.pixel_size[0],
        "nm": np.round(source.grid.centres, 3).tolist(),
        "valid": _bits(sample.valid),
        "outlier": None if sample.outlier is None else _bits(_outlier_cells(sample)),
        "spectra": _packed(spectra),
        "errors": None if errors is None else _packed(errors),
        "indices": _indices(sample, names),
        "stf": _stf(source),
        "zones": _outlines(zones, sample.map_grid.step),
    }


def json_text(value: Json) -> str:
    """JSON that cannot end the element of HTML that it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII only
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def crs_label(crs_wkt: str) -> str:
    """The EPSG code of a CRS, else its name."""
    from pyproj import CRS

    if not crs_wkt:
        return "no CRS"
    crs = CRS.from_wkt(crs_wkt)
    code = crs.to_epsg()
    return printable(crs.name if code is None else f"EPSG:{code}")


def _base64(values: NumberArray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _bits(values: BoolArray) -> str:
    return _base64(np.packbits(values, bitorder="little"))


def _outlier_cells(sample: PageSample) -> BoolArray:
    """(n,) outliers among the valid cells."""
    return sample.at_cells(np.asarray(sample.outlier, np.float32)) > 0


def _packed(packed: PackedSpectra) -> Json:
    return {
        "mean": _base64(packed.mean.astype("<f4")),
        "directions": _base64(packed.directions.astype("<f4")),
        "offset": packed.offset.tolist(),
        "step": packed.step.tolist(),
        "bits": packed.bits,
        "counts": [base64.b64encode(row).decode() for row in packed.stored()],
    }


def _indices(sample: PageSample, names: Sequence[str]) -> Json:
    values, errors = sample.at_cells(sample.indices), sample.index_errors
    known = None if errors is None else sample.at_cells(errors)
    return [
        {
            "name": printable(name),
            "value": _counts(values[number]),
            "error": None if known is None else _counts(known[number]),
        }
        for number, name in enumerate(names)
    ]


def _counts(values: Float32Array) -> Json:
    """Values (n,) in two bytes each: low + step count; 0 and 65534 are the values beyond."""
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, INDEX_PERCENTILES).tolist() if finite.size else (0.0, 1.0)
    step = max((high - low) / (_MISSING - 3), 1e-12)
    low -= step
    with np.errstate(invalid="ignore"):
        counts = np.clip(np.rint((values - low) / step), 0, _MISSING - 1)
    counts = np.where(np.isfinite(values), counts, _MISSING)
    return {"low": low, "step": step, "counts": _base64(counts.astype("<u2"))}


def _corners(source: SpectralSource) -> Json:
    """Longitude and latitude of the four corners, row by row; None where they have none."""
    height, width = source.height, source.width
    pixels = np.array([(0, 0), (width, 0), (0, height), (width, height)], float)
    points = pixel_to_map(source.transform, pixels)
    try:
        if not source.crs_wkt:
            return None
        degrees = reproject_points(points, source.crs_wkt, WGS84)
    except InputRefused:  # local coordinates
        return None
    return degrees.tolist() if np.isfinite(degrees).all() else None


def _stf(source: SpectralSource) -> Json:
    """Curves relative to the peak of the data sheet's."""
    sensor, estimate = source.sensor, source.scene_stf
    if sensor is None or estimate is None:
        return None
    nominal = sensor.srf(source.grid)
    peaks = nominal.max(1, keepdims=True)
    colours = wavelength_colours(response_moments(nominal, source.grid.centres)[0])
    return {
        "bands": [printable(role) for role in sensor.roles],
        "colours": list(colours),
        "spans": [
            [band.centre - band.fwhm / 2, band.centre + band.fwhm / 2] for band in sensor.bands
        ],
        "nominal": _rounded(nominal / peaks),
        "curves": _rounded(estimate.stf / peaks),
        "errors": _rounded(estimate.stf_se / peaks),
    }


def _rounded(values: FloatArray) -> Json:
    return np.round(np.asarray(values, float), 4).tolist()


def _outlines(zones: Sequence[Zone], step: int) -> Json:
    """Name and rings (columns and rows) of each plot, to half a pixel of the maps."""
    import shapely

    shapes = [shapely.simplify(zone.outline, step / 2) for zone in zones]
    if sum(shapely.get_num_coordinates(shape) for shape in shapes) > MAX_CORNERS:
        return []
    return [
        {"name": printable(zone.name), "rings": _rings(shape)}
        for zone, shape in zip(zones, shapes, strict=True)
    ]


def _rings(shape: Geometry) -> Json:
    import shapely

    rings = shapely.get_rings(shapely.get_parts(shape))
    return [np.round(shapely.get_coordinates(ring), 1).tolist() for ring in rings]
