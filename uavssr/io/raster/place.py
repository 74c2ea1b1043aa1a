"""Place of a raster on the ground: size, CRS and transform, taken exactly as the file has them.

Georeferencing in a sidecar file is not used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.io import DatasetReader

from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks import CheckedFile, sidecars
from uavssr.io.raster.band_metadata import BandMetadata
from uavssr.io.raster.georeference import Transform
from uavssr.io.raster.request import Request

SAME_GRID: Final = 0.01
"""Largest shift, in pixels at any corner, between two grids that count as the same."""
_IDENTITY: Final = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


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


def read_place(dataset: DatasetReader, checked: CheckedFile, request: Request) -> Place:
    """The place of an open dataset.

    Raises:
        InputRefused: no geotransform, no CRS and none assumed, or a degenerate geotransform.
        UsageError: `--assume-crs` is no AUTHORITY:CODE.
    """
    place = make_place(
        checked.path,
        crs=dataset.crs,
        transform=tuple(dataset.transform)[:6],
        size=(dataset.height, dataset.width),
        request=request,
    )
    world_files, others = sidecars(checked.path)
    if not world_files and not others:
        return place
    names = ", ".join(file.name for file in (*world_files, *others))
    warning = f"sidecar files of {checked.path.name} ignored: {names}"
    return replace(place, warnings=(*place.warnings, warning))


def make_place(
    path: Path, *, crs: CRS | None, transform: Transform, size: tuple[int, int], request: Request
) -> Place:
    """The place of a raster from its parts.

    Args:
        path: the file.
        crs: as the file states it.
        transform: as the file states it.
        size: rows and columns.
        request: may assume a CRS, if the file has none.

    Raises:
        InputRefused: no geotransform, no CRS and none assumed, or a degenerate geotransform.
        UsageError: `--assume-crs` is no AUTHORITY:CODE.
    """
    _check_transform(transform, path)
    crs, warnings = _stated_or_assumed(crs, path, request)
    return Place(
        path=path,
        height=size[0],
        width=size[1],
        crs_wkt=crs.to_wkt(),
        crs_name=_crs_name(crs),
        unit="degree" if crs.is_geographic else str(crs.linear_units),
        transform=transform,
        warnings=warnings,
    )


def _check_transform(transform: Transform, path: Path) -> None:
    if transform == _IDENTITY:
        world_files, others = sidecars(path)
        ignored = [*world_files, *(p for p in others if p.name.endswith(".aux.xml"))]
        if ignored:
            raise InputRefused(
                f"its only georeferencing is in the sidecar {ignored[0].name}, which is not read",
                path=path,
                remedy=f"embed it: gdal_translate {path.name} {path.stem}_geo.tif",
            )
        raise InputRefused(
            "no geotransform: a raw camera frame",
            path=path,
            remedy="make an orthomosaic of reflectance first (OpenDroneMap, Metashape, Pix4D)",
        )
    a, b, _, d, e, _ = transform
    if not all(map(math.isfinite, transform)) or a * e - b * d == 0:
        raise InputRefused(f"the geotransform {transform} is degenerate", path=path)


def _stated_or_assumed(
    stated: CRS | None, path: Path, request: Request
) -> tuple[CRS, tuple[str, ...]]:
    """The CRS and warnings."""
    assumed = None if request.assume_crs is None else _parse_crs(request.assume_crs)
    if stated:
        if assumed is not None and assumed != stated:
            raise InputRefused(
                f"has the CRS {_crs_name(stated)}, not {request.assume_crs}",
                path=path,
                remedy="leave out --assume-crs, or correct the file with gdal_edit -a_srs",
            )
        return stated, ()
    if assumed is None:
        raise InputRefused("no CRS", path=path, remedy=_how_to_give_crs(request))
    return assumed, (f"no CRS in {path.name}: {request.assume_crs} assumed as asked",)


def _how_to_give_crs(request: Request) -> str:
    if request.subcommand is None:
        return "write the true one into the file: gdal_edit.py -a_srs EPSG:CODE FILE"
    return f"give the true one, as in: {request.command(assume_crs='EPSG:CODE')}"


def _parse_crs(text: str) -> CRS:
    """Only AUTHORITY:CODE, because GDAL would open a URL or the name of a file."""
    if not re.fullmatch(r"[A-Za-z]+:[A-Za-z0-9]+", text):
        raise UsageError(f"--assume-crs {text!r} is no code such as EPSG:32650")
    try:
        return CRS.from_user_input(text)
    except CRSError as err:
        raise UsageError(f"--assume-crs {text!r} is not known: {err}") from err


def _crs_name(crs: CRS) -> str:
    code = crs.to_epsg()
    if code is not None:
        return f"EPSG:{code}"
    name = re.search(r'^\w+\["([^"]*)"', crs.to_wkt())
    return name[1] if name else "unnamed"


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
    _check_grids(places, remedy="bring all bands onto one grid first, e.g. with gdalwarp")
    _check_types([band for band in bands if band.colour != "alpha"])


def check_aligned(place: Place, reference: Place) -> None:
    """Refuse a raster whose pixels are not those of another one.

    Raises:
        InputRefused: naming the difference: size, CRS or geotransform.
    """
    _check_grids([reference, place], remedy="bring both onto one grid, e.g. with gdalwarp")


def _check_grids(places: Sequence[Place], *, remedy: str) -> None:
    _check_property(places, "size", lambda p: f"{p.width} x {p.height}", _same_size, remedy)
    _check_property(places, "CRS", lambda p: p.crs_name, _same_crs, remedy)
    _check_property(places, "geotransform", lambda p: str(p.transform), _same_transform, remedy)


def _check_property(
    places: Sequence[Place],
    name: str,
    show: Callable[[Place], str],
    same: Callable[[Place, Place], bool],
    remedy: str,
) -> None:
    """Refuse the first place that differs from the one that most are like."""
    usual = max(places, key=lambda p: sum(same(p, q) for q in places))
    for place in places:
        if not same(place, usual):
            raise InputRefused(
                f"its {name} is {show(place)}, that of {usual.path.name} is {show(usual)}",
                path=place.path,
                remedy=remedy,
            )


def _check_types(bands: Sequence[BandMetadata]) -> None:
    types = [band.dtype for band in bands]
    usual = max(types, key=types.count)
    for band in bands:
        if band.dtype != usual:
            raise InputRefused(f"holds {band.dtype}, the other bands {usual}", path=band.file)


def _same_size(one: Place, other: Place) -> bool:
    return (one.height, one.width) == (other.height, other.width)


def _same_crs(one: Place, other: Place) -> bool:
    return one.crs_wkt == other.crs_wkt or one.crs_name == other.crs_name != "unnamed"


def _same_transform(one: Place, other: Place) -> bool:
    """Whether no corner of the scene moves by more than `SAME_GRID` pixels."""
    a, b, c, d, e, f = (p - q for p, q in zip(one.transform, other.transform, strict=True))
    pixel = min(other.gsd)
    corners = [(x, y) for x in (0, one.width) for y in (0, one.height)]
    return all(
        math.hypot(a * x + b * y + c, d * x + e * y + f) <= SAME_GRID * pixel for x, y in corners
    )
