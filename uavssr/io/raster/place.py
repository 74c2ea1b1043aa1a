"""Place of a raster on the ground: size, CRS and transform, taken exactly as the file has them.

Georeferencing in a sidecar file is not used.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.io import DatasetReader

from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks import CheckedFile, is_file
from uavssr.io.raster.band_metadata import BandMetadata
from uavssr.io.raster.ground import check_coordinates, crs_name
from uavssr.io.raster.option_needed import OptionNeeded

if TYPE_CHECKING:
    import xarray as xr

Transform = tuple[float, float, float, float, float, float]
"""Affine (a, b, c, d, e, f) from pixels to map: x = a col + b row + c, y = d col + e row + f."""

SAME_GRID: Final = 0.01
"""Largest shift, in pixels at any corner, between two grids that count as the same."""
_IDENTITY: Final = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_WORLD_FILES: Final = (".tfw", ".tifw", ".tiffw", ".wld", ".TFW")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Size and georeferencing of one file."""

    path: Path
    """The file as given."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    crs_wkt: str
    """Coordinate reference system as WKT."""
    crs_name: str
    """Its EPSG code, else its name."""
    unit: str
    """Unit of its coordinates: metre, degree ..."""
    transform: Transform
    """From pixels to map coordinates."""
    warnings: tuple[str, ...] = ()
    """Ignored sidecar files and an assumed CRS, a sentence each."""

    @property
    def gsd(self) -> tuple[float, float]:
        """Ground sampling distances: size of a pixel along a row and down a column, in `unit`."""
        a, b, _, d, e, _ = self.transform
        return math.hypot(a, d), math.hypot(b, e)


def read_place(
    dataset: DatasetReader,
    checked: CheckedFile,
    *,
    assume_crs: str | None = None,
    crs_remedy: str | None = None,
) -> Place:
    """The place of an open dataset; arguments and errors are those of `make_place`."""
    _check_control_points(dataset, checked.path)
    place = make_place(
        checked.path,
        crs=dataset.crs,
        transform=tuple(dataset.transform)[:6],
        size=dataset.shape,
        assume_crs=assume_crs,
        crs_remedy=crs_remedy,
    )
    names = ", ".join(file.name for file in _sidecars(checked.path))
    warnings = (f"sidecar files of {checked.path.name} ignored: {names}",) if names else ()
    return replace(place, warnings=place.warnings + warnings)


def make_place(
    path: Path,
    *,
    crs: CRS | None,
    transform: Transform,
    size: tuple[int, int],
    assume_crs: str | None = None,
    crs_remedy: str | None = None,
) -> Place:
    """The place of a raster from what its file states; `size` is its rows and columns.

    If it states no CRS, `assume_crs` (AUTHORITY:CODE) is taken; `crs_remedy` asks for that.

    Raises:
        InputRefused: no geotransform, or a degenerate one.
        OptionNeeded: no CRS, and none assumed.
        UsageError: `assume_crs` is no AUTHORITY:CODE.
    """
    _check_transform(transform, path)
    assumed = None if assume_crs is None else _parse_crs(assume_crs)
    if crs and assumed is not None and assumed != crs:
        raise InputRefused(
            f"has the CRS {crs_name(crs)}, not {assume_crs}",
            path=path,
            remedy="leave out --assume-crs, or correct the file: "
            + _edit_crs(path, str(assume_crs)),
        )
    warnings = () if crs else (f"no CRS in {path.name}: {assume_crs} assumed as asked",)
    crs = crs or assumed
    if crs is None:
        needed = {"assume_crs": "EPSG:CODE"}
        remedy = crs_remedy or f"write the true one into the file: {_edit_crs(path, 'EPSG:CODE')}"
        raise OptionNeeded("no CRS", path=path, remedy=remedy, options=needed)
    a, b, c, d, e, f = transform
    corners = [(a * x + b * y + c, d * x + e * y + f) for y in (0, size[0]) for x in (0, size[1])]
    check_coordinates(crs, np.array(corners), pixel=math.hypot(a, d), path=path)
    return Place(
        path=path,
        height=size[0],
        width=size[1],
        crs_wkt=crs.to_wkt(),
        crs_name=crs_name(crs),
        unit="degree" if crs.is_geographic else str(crs.linear_units),
        transform=transform,
        warnings=warnings,
    )


def _check_control_points(dataset: DatasetReader, path: Path) -> None:
    points, crs = dataset.gcps
    if points and tuple(dataset.transform)[:6] == _IDENTITY:
        code = crs_name(crs) if crs and crs.to_epsg() else "EPSG:CODE"
        source, warped = (
            shlex.quote(str(file)) for file in (path, path.with_suffix(".warped.tif"))
        )
        raise InputRefused(
            f"{len(points)} ground control points, but no geotransform",
            path=path,
            remedy=f"warp it: rio warp {source} {warped} --dst-crs {code}; that drops the names of "
            "the bands, so give them with --bands",
        )


def _edit_crs(path: Path, code: str) -> str:
    """A command of rasterio that writes a CRS into a file."""
    return shlex.join(["rio", "edit-info", "--crs", code, str(path)])


def _sidecars(path: Path) -> list[Path]:
    """Files beside `path` that GDAL would read by default: world files, metadata, pixels."""
    beside = [path.with_suffix(suffix) for suffix in _WORLD_FILES]
    beside += [Path(f"{path}{suffix}") for suffix in (".aux.xml", ".ovr", ".msk")]
    return [file for file in beside if is_file(file)]


def _check_transform(transform: Transform, path: Path) -> None:
    a, b, _, d, e, _ = transform
    if not all(map(math.isfinite, transform)) or a * e - b * d == 0:
        raise InputRefused(f"the geotransform {transform} is degenerate", path=path)
    if transform != _IDENTITY:
        return
    for file in _sidecars(path):
        if file.suffix not in (".ovr", ".msk"):
            raise InputRefused(
                f"its only georeferencing is in the sidecar {file.name}, which is not read",
                path=path,
                remedy="write it into the file: "
                + shlex.join(
                    ["rio", "edit-info", "--like", str(path), "--transform", "like", str(path)]
                ),
            )
    raise InputRefused(
        "no geotransform: a raw camera frame",
        path=path,
        remedy="make an orthomosaic of reflectance first (OpenDroneMap, Metashape, Pix4D)",
    )


def _parse_crs(text: str) -> CRS:
    """Only AUTHORITY:CODE, because GDAL would open a URL or the name of a file."""
    if not re.fullmatch(r"[A-Za-z]+:[A-Za-z0-9]+", text):
        raise UsageError(f"--assume-crs {text!r} is no code such as EPSG:32650")
    try:
        return CRS.from_user_input(text)
    except CRSError as err:
        raise UsageError(f"--assume-crs {text!r} is not known: {err}") from err


def check_same_grid(places: Sequence[Place], bands: Sequence[BandMetadata]) -> None:
    """Refuse a set of files unless each holds one band, all of one type and on one grid.

    Raises:
        InputRefused: naming the file that differs from most.
    """
    for band in bands:
        if not band.alone:
            raise InputRefused(
                "holds several bands, but is one of several files",
                path=band.file,
                remedy="give one multi-band file, or files of a single band each",
            )
    _check_places(places, remedy=_warp_to)
    types = {band.file: band.dtype for band in bands if not band.is_alpha}
    usual = max(types.values(), key=[*types.values()].count)
    for file, dtype in types.items():
        if dtype != usual:
            raise InputRefused(f"holds {dtype}, the other bands {usual}", path=file)


def check_aligned(place: Place, reference: Place) -> None:
    """Refuse a raster whose pixels are not those of another one.

    Raises:
        InputRefused: naming the difference: size, CRS or geotransform.
    """
    remedy = "bring both onto one grid, e.g. with gdalwarp"
    _check_places([reference, place], remedy=lambda *_: remedy)


def on_same_grid(place: Place, other: Place) -> bool:
    """Whether two rasters have the same size, CRS and, within `SAME_GRID`, geotransform."""
    return not _difference(place, other)


def _warp_to(place: Place, usual: Place) -> str:
    """The command that brings a file onto the grid of the others."""
    target = f"{place.path.with_suffix('')}_aligned.tif"
    command = ["rio", "warp", str(place.path), target, "--like", str(usual.path)]
    return f"bring it onto the grid of the others: {shlex.join(command)}"


def _check_places(places: Sequence[Place], *, remedy: Callable[[Place, Place], str]) -> None:
    """Refuse the first place that differs from the one that most are like."""
    usual = max(places, key=lambda p: sum(not _difference(p, q) for q in places))
    for place in places:
        difference = _difference(place, usual)
        if difference:
            raise InputRefused(difference, path=place.path, remedy=remedy(place, usual))


def _difference(one: Place, other: Place) -> str:
    """The first property in which two places differ, in words; empty if they are the same."""
    if (one.height, one.width) != (other.height, other.width):
        name, *values = "size", *(f"{p.width} x {p.height}" for p in (one, other))
    elif not _same_crs(one, other):
        name, *values = "CRS", one.crs_name, other.crs_name
    elif not _same_transform(one, other):
        name, *values = "geotransform", str(one.transform), str(other.transform)
    else:
        return ""
    return f"its {name} is {values[0]}, that of {other.path.name} is {values[1]}"


def _same_crs(one: Place, other: Place) -> bool:
    return one.crs_wkt == other.crs_wkt or one.crs_name == other.crs_name != "unnamed"


def _same_transform(one: Place, other: Place) -> bool:
    """Whether no corner of the scene moves by more than `SAME_GRID` pixels."""
    a, b, c, d, e, f = (p - q for p, q in zip(one.transform, other.transform, strict=True))
    corners = [(x, y) for x in (0, one.width) for y in (0, one.height)]
    shifts = [math.hypot(a * x + b * y + c, d * x + e * y + f) for x, y in corners]
    return max(shifts) <= SAME_GRID * min(other.gsd)


def is_rotated(transform: Transform, *, height: int, width: int) -> bool:
    """Whether rows and columns of a raster do not run along x and y."""
    a, b, _, d, e, _ = transform
    shifts = abs(b) * height, abs(d) * width
    return max(shifts) > SAME_GRID * min(math.hypot(a, d), math.hypot(b, e))


def coordinates(
    crs_wkt: str, transform: Transform, *, height: int, width: int
) -> dict[str, xr.DataArray]:
    """Coordinates `spatial_ref` and, unless the raster is rotated, `y` and `x` of the cell centres.

    They follow the CF conventions; `height` and `width` are the rows and columns of the raster.
    """
    import xarray as xr

    a, b, c, d, e, f = transform
    geotransform = " ".join(repr(float(v)) for v in (c, a, b, f, d, e))
    attributes = {"crs_wkt": crs_wkt, "spatial_ref": crs_wkt, "GeoTransform": geotransform}
    variables = {"spatial_ref": xr.DataArray(0, attrs=attributes)}
    if not is_rotated(transform, height=height, width=width):
        x = c + a * (np.arange(width) + 0.5)
        y = f + e * (np.arange(height) + 0.5)
        variables["y"] = xr.DataArray(y, dims="y", attrs={"axis": "Y"})
        variables["x"] = xr.DataArray(x, dims="x", attrs={"axis": "X"})
    return variables
